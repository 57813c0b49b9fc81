"""Find the document that each row of labels is about, in temporary tables of DuckDB.

given    names of documents and labels, as they are written
named    the document that each row is about, or the reason why there is none
meant    the categories that a long table names, whatever their case
judged   one row per document: the last value of each of its labels, as columns ``p0, s0, p1, s1, …``
"""

from __future__ import annotations

import duckdb
import pyarrow as pa

from udfs.errors import did_you_mean
from udfs.labels.taxonomies.taxonomy import Taxonomy
from warehouse.ingest.labels.label_tables import NAMES, NULL, POSITION, LabelColumns
from warehouse.lake.quoting import literal

_RANKS = (("p", "primary"), ("s", "secondary"))


class LabelMatcher:
    """The rows of one file of labels. ``source`` restricts the documents that a url or an id can name."""

    def __init__(
        self, cursor: duckdb.DuckDBPyConnection, columns: LabelColumns, taxonomy: Taxonomy, source: str | None
    ) -> None:
        self._cursor, self._columns, self._taxonomy, self._source = cursor, columns, taxonomy, source
        self._names = [category.name for category in taxonomy.categories]

    def load(self, relation: str) -> None:
        """Fill the table ``given`` from a relation."""
        found = self._columns
        columns = found.names | {"category": found.category, "rank": found.rank}
        if found.wide:
            pairs = enumerate(found.wide.get(name, (NULL, NULL)) for name in self._names)
            columns |= {f"{rank}{n}": label for n, pair in pairs for rank, label in zip("ps", pair, strict=True)}
        else:
            columns |= {"first": found.first, "second": found.second}
        listed = ", ".join(f"{expression} as {name}" for name, expression in columns.items())
        self._cursor.execute(
            f"create or replace temp table given as select {POSITION} as position, {listed} from {relation} as rows"
        )

    def match(self) -> dict[str, str]:
        """Fill the tables ``meant`` and ``named``. Returns the nearest names to unknown categories, by reason."""
        self._cursor.execute(
            "create or replace temp table direct as select position, url, source_id, coalesce(case when"
            " regexp_full_match(lower(trim(doc_id)), '[0-9a-f]{32}') then lower(trim(doc_id)) end, text_id) as doc_id,"
            " doc_id is not null as has_id from given"
        )
        for column in ("url", "source_id"):
            source = "and source = $source" if self._source else ""
            self._cursor.execute(
                f"create or replace temp table by_{column} as"
                f" select {column}, any_value(doc_id) as doc_id, count(distinct doc_id) as n from lake.raw.occurrences"
                f" where {column} in (select {column} from direct where doc_id is null) {source} group by {column}",
                {"source": self._source} if self._source else None,
            )
        hints = self._match_categories()
        long = "false" if self._columns.wide else "true"
        rank = "coalesce(lower(trim(given.rank)), 'primary')"
        self._cursor.execute(
            f"""
            create or replace temp table named as
            select position, meant.name as category, ({rank} in ('secondary', '2'))::integer as place,
                coalesce(
                    direct.doc_id, case when by_url.n = 1 then by_url.doc_id end,
                    case when by_source_id.n = 1 then by_source_id.doc_id end
                ) as found,
                case when {long} and given.category is null then 'it names no category'
                    when {long} and meant.name is null then 'no category ' || given.category
                    when {rank} not in ('primary', 'secondary', '1', '2')
                        then 'a label is primary or secondary, not ' || given.rank
                    when found is not null then null
                    when by_url.n > 1 then 'several documents have its url'
                    when by_source_id.n > 1 then 'several documents have its id'
                    when direct.url is not null then 'no document has its url'
                    when direct.source_id is not null then 'no document has its id'
                    when has_id then 'its doc_id is not 32 hex digits'
                    else 'it names no document' end as reason,
                case when reason is null then found end as doc_id
            from given join direct using (position)
            left join by_url on by_url.url = direct.url
            left join by_source_id on by_source_id.source_id = direct.source_id
            left join meant on meant.category = given.category
            """
        )
        return hints

    def _match_categories(self) -> dict[str, str]:
        """Fill the table ``meant``. Returns the nearest names to unknown categories."""
        written = [row[0] for row in self._cursor.execute("select distinct category from given").fetchall()]
        known = {key.casefold(): each.name for each in self._taxonomy.categories for key in (each.name, each.heading)}
        rows = pa.table(
            {
                "category": pa.array(written, pa.string()),
                "name": pa.array([known.get((each or "").strip().casefold()) for each in written], pa.string()),
            }
        )
        self._cursor.register("meant_rows", rows)
        self._cursor.execute("create or replace temp table meant as select * from meant_rows")
        self._cursor.unregister("meant_rows")
        unknown = [each for each in written if each and each.strip().casefold() not in known]
        return {f"no category {each}": near for each in unknown if (near := did_you_mean(each, self._names))}

    def judge(self, answered: str | None) -> None:
        """Fill the table ``judged``, without the documents that the query ``answered`` gives."""
        query = self._judged()
        if answered:
            query = f"select * from ({query}) anti join ({answered}) as known using (doc_id)"
        self._cursor.execute(f"create or replace temp table judged as {query}")

    def _judged(self) -> str:
        if self._columns.wide:
            labels = ", ".join(f"{rank}{n}" for n in range(len(self._names)) for rank in "ps")
            last = "select doc_id, max(position) as position from named where doc_id is not null group by doc_id"
            return f"select last.doc_id, {labels} from given join ({last}) as last using (position)"
        columns = []
        for n, name in enumerate(self._names):
            this = f"filter (category = {literal(name)}"
            if self._columns.rank == NULL:
                columns += [
                    f"arg_max_null(first, position) {this}) as p{n}", f"arg_max_null(second, position) {this}) as s{n}",
                ]  # fmt: skip
            else:
                columns += [
                    f"arg_max_null(first, position) {this} and place = {place}) as {rank}{n}"
                    for place, rank in enumerate("ps")
                ]
        inner = (
            "select named.doc_id, named.category, place, position, first, second from given join named using (position)"
        )
        return f"select doc_id, {', '.join(columns)} from ({inner} where named.doc_id is not null) group by doc_id"

    def counts(self) -> tuple[int, int, dict[str, int]]:
        """Count rows overruled by a later one, answers about documents not in the lake, and rows refused by reason."""
        one = "doc_id" if self._columns.wide else "doc_id, category, place"
        row = self._cursor.execute(
            f"select (select count(*) from named where doc_id is not null)"
            f" - (select count(*) from (select distinct {one} from named where doc_id is not null)),"
            f" (select count(*) from judged anti join lake.raw.documents using (doc_id))"
        ).fetchone()
        assert row is not None
        overruled, unknown = row
        reasons = self._cursor.execute(
            "select reason, count(*) from named where reason is not null group by 1"
        ).fetchall()
        return overruled, unknown, dict(reasons)

    def unmatched(self) -> pa.Table:
        """Return the rows that are about no document: ``position``, ``reason`` and the row as JSON in ``raw``."""
        labels = ["category", "rank", "first", "second"]
        if wide := self._columns.wide:
            labels = [f"{rank}{n}" for n, name in enumerate(self._names) if name in wide for rank in "ps"]
        written = {each: each for each in (*NAMES, *labels)}
        written |= {f"{rank}{n}": f"{name}_{long}" for n, name in enumerate(self._names) for rank, long in _RANKS}
        shown = ", ".join(f"{literal(written[each])}: given.{each}" for each in (*NAMES, *labels))
        return self._cursor.execute(
            f"select position, named.reason, encode(to_json({{{shown}}})::varchar) as raw"
            " from given join named using (position) where named.reason is not null order by position"
        ).to_arrow_table()
