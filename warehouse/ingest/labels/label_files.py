"""Labels from outside: what people, another model or a published table say becomes a labeler's answers.

    file ─▶ rows with labels as written ─▶ which document each row is about ─▶ codes ─▶ labels.<taxonomy>

- **Documents** are named by doc_id, by their text, by url or by the source's own id (``raw.occurrences``). The first
  two hold for documents that the lake does not have yet. A row that names none, or a url of several, goes to
  raw.rejects.
- **Labels** are codes or names (``udfs.labels.taxonomies.external_labels``). One that cannot be is NULL; ``raw`` keeps
  it as it was written, and why. Status is ``ok`` where every category has a label, ``unparsed`` where none has, else ``partial``.
- **The last word counts**: of several rows on one document in one file the last one; of several files the one that
  came into the lake last, document by document (``labelled_at``). Another content is another fingerprint, so older
  answers stay beside the new ones.
- **Again**: a file that the lake has changes nothing, unless documents have come meanwhile that it names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from udfs.errors import CuveeError, Location, did_you_mean
from udfs.expensive import fingerprint
from udfs.labels.codecs.codecs import Pair
from udfs.labels.labels import VERDICT
from udfs.labels.taxonomies.external_labels import GivenCategory
from warehouse.answers import store
from warehouse.ingest import known_files
from warehouse.ingest.commit import FILES
from warehouse.ingest.inputs import Input, path_text
from warehouse.ingest.known_files import Stamp
from warehouse.ingest.labels.external_labeler import Outside
from warehouse.ingest.labels.label_tables import NAMES, NULL, POSITION, Shape, open_table, shape
from warehouse.ingest.records import RAW_LIMIT, Options
from warehouse.ingest.unit import REJECT_FILE, open_writer

if TYPE_CHECKING:
    import duckdb

    from warehouse.lake.lake import Lake, Staging

AUTHOR = "cuvee ingest"
FORMAT = "labels"

#: Documents whose labels are read together.
_ROWS = 1 << 16

#: Memory for DuckDB; more than that is spilled to the lake's staging folder.
_MEMORY = "1GB"


_KNOWN = "select max(rejected) from lake.raw.files where file_id = ?"


class StrictLabelsError(CuveeError):
    """Under --strict, a label could not be read or a row names no document."""


@dataclass(slots=True)
class LabelsReport:
    """What became of one file of labels.

    ``answers`` were added; of those ``statuses`` counts. ``rejected`` rows name no document or are none, ``overruled``
    ones stand before another on the same document, ``unknown`` answers are about documents that the lake does not have.
    ``reasons`` counts why rows or labels were refused; ``hints`` has the nearest names to a reason.
    """

    path: str
    unchanged: bool = False
    answers: int = 0
    rejected: int = 0
    overruled: int = 0
    unknown: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    hints: dict[str, str] = field(default_factory=dict)


def ingest_labels(
    lake: Lake,
    inputs: Sequence[Input],
    who: Outside,
    options: Options,
    advance: Callable[[float, str], None] = lambda *_: None,
) -> list[LabelsReport]:
    """Read files of labels and commit each as a whole; ``advance`` is told the bytes and the name of each.

    Raises LabelFileError for a file that is no table of labels, StrictLabelsError under ``options.strict``; the files
    before it are in the lake.
    """
    reports = []
    cursor = lake.cursor()
    cursor.execute(f"set memory_limit = '{_MEMORY}'")
    try:
        with lake.staging() as staging:
            for entry in inputs:
                try:
                    stamp = Stamp.of(entry)
                    reports.append(_File(lake, staging, cursor, entry, stamp, who, options).take())
                except OSError as error:
                    message = f"cannot be read: {error.strerror or error}"
                    raise CuveeError(message, where=Location(str(entry.path))) from error
                advance(stamp.bytes, entry.path.name)
    finally:
        cursor.execute("reset memory_limit")
        cursor.close()
    return reports


class _File:
    """One file on its way into the lake."""

    def __init__(
        self, lake: Lake, staging: Staging, cursor: duckdb.DuckDBPyConnection, entry: Input, stamp: Stamp,
        who: Outside, options: Options,
    ) -> None:  # fmt: skip
        self._lake, self._staging, self._cursor = lake, staging, cursor
        self._entry, self._stamp, self._who, self._options = entry, stamp, who, options
        self._names = [category.name for category in who.taxonomy.categories]
        self._categories = [GivenCategory(category) for category in who.taxonomy.categories]
        self.report = LabelsReport(path_text(entry.path))

    def take(self) -> LabelsReport:
        """Read the file and commit what is new."""
        checksum = known_files.checksum(self._entry)
        print_ = self._who.fingerprint(checksum, self._options)
        file_id = fingerprint(FORMAT, self.report.path, print_, self._options.source)
        known = self._known(file_id)
        if known == 0:
            self.report.unchanged = True
            return self.report
        table = open_table(self._cursor, self._entry.path)
        found = shape(self._entry.path, table, self._names, self._options)
        self._load(table.relation, found)
        self._attribute(found)
        answers = self._answers(found, print_)
        rejects = self._rejects(found, table.broken, file_id)
        if Stamp.of(self._entry) != self._stamp:
            raise OSError("it changed while it was read; run again")
        if self._options.strict and self.report.reasons:
            reason, count = self.report.reasons.most_common(1)[0]
            hint = self.report.hints.get(reason)
            raise StrictLabelsError(f"{count:,} times: {reason}", where=Location(self.report.path), hint=hint)
        if known is not None and not answers and known == self.report.rejected:
            self.report.unchanged = True
            return self.report
        self._commit(checksum, file_id, answers, rejects, known)
        return self.report

    def _known(self, file_id: str) -> int | None:
        """How many rows of this file were rejected when it was read; None if the lake does not have it."""
        row = self._cursor.execute(_KNOWN, [file_id]).fetchone()
        return row[0] if row else None

    def _load(self, relation: str, found: Shape) -> None:
        """The table ``given``: names of documents and labels, as they are written."""
        columns = found.names | {"category": found.category, "rank": found.rank}
        if found.wide:
            columns |= {f"{rank}{n}": pair[at] for n, pair in self._pairs(found) for at, rank in enumerate("ps")}
        else:
            columns |= {"first": found.first, "second": found.second}
        listed = ", ".join(f"{expression} as {name}" for name, expression in columns.items())
        self._cursor.execute(
            f"create or replace temp table given as select {POSITION} as position, {listed} from {relation} as rows"
        )

    def _pairs(self, found: Shape) -> list[tuple[int, tuple[str, str]]]:
        return [(n, found.wide.get(name, (NULL, NULL))) for n, name in enumerate(self._names)]

    def _attribute(self, found: Shape) -> None:
        """The table ``named``: which document each row is about, or why none."""
        self._cursor.execute(
            "create or replace temp table direct as select position, url, source_id, coalesce(case when"
            " regexp_full_match(lower(trim(doc_id)), '[0-9a-f]{32}') then lower(trim(doc_id)) end, text_id) as doc_id,"
            " doc_id is not null as has_id from given"
        )
        for column in ("url", "source_id"):
            source = "and source = $source" if self._options.source else ""
            self._cursor.execute(
                f"create or replace temp table by_{column} as"
                f" select {column}, any_value(doc_id) as doc_id, count(distinct doc_id) as n from lake.raw.occurrences"
                f" where {column} in (select {column} from direct where doc_id is null) {source} group by {column}",
                {"source": self._options.source} if self._options.source else None,
            )
        self._meant_categories()
        long = "false" if found.wide else "true"
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

    def _meant_categories(self) -> None:
        """The table ``meant``: the categories that a long table speaks of, whatever their case."""
        written = [row[0] for row in self._cursor.execute("select distinct category from given").fetchall()]
        known = {
            key.casefold(): each.name for each in self._who.taxonomy.categories for key in (each.name, each.heading)
        }
        rows = pa.table(
            {
                "category": pa.array(written, pa.string()),
                "name": pa.array([known.get((each or "").strip().casefold()) for each in written], pa.string()),
            }
        )
        self._cursor.register("meant_rows", rows)
        self._cursor.execute("create or replace temp table meant as select * from meant_rows")
        self._cursor.unregister("meant_rows")
        for each in written:
            if each and each.strip().casefold() not in known and (near := did_you_mean(each, self._names)):
                self.report.hints[f"no category {each}"] = near

    def _judged(self, found: Shape) -> str:
        """A query for one row per document: the last word on each of its labels."""
        if found.wide:
            labels = ", ".join(f"{rank}{n}" for n in range(len(self._names)) for rank in "ps")
            last = "select doc_id, max(position) as position from named where doc_id is not null group by doc_id"
            return f"select last.doc_id, {labels} from given join ({last}) as last using (position)"
        columns = []
        for n, name in enumerate(self._names):
            this = f"filter (category = '{name}'"
            if found.rank == NULL:
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

    def _answers(self, found: Shape, print_: str) -> list[Path]:
        """Write the answers that the store does not have yet; returns the file, if there are any."""
        query = self._judged(found)
        if store.exists(self._cursor, self._who.store):
            known = f"select doc_id from lake.{self._who.store} where fingerprint = '{print_}'"
            query = f"select * from ({query}) anti join ({known}) as known using (doc_id)"
        path = self._staging.file(self._who.store)
        schema = store.store_schema(self._who.columns)
        self._cursor.execute(f"create or replace temp table judged as {query}")
        now = pa.scalar(datetime.now(UTC), pa.timestamp("us", "UTC"))
        with open_writer(path, schema) as writer:
            for batch in self._cursor.sql("from judged").to_arrow_reader(_ROWS):
                writer.write_table(self._store_rows(batch, schema, print_, now))
        self._count(found)
        if self.report.answers:
            return [path]
        path.unlink()
        return []

    def _count(self, found: Shape) -> None:
        one = "doc_id" if found.wide else "doc_id, category, place"
        row = self._cursor.execute(
            f"select (select count(*) from named where doc_id is not null)"
            f" - (select count(*) from (select distinct {one} from named where doc_id is not null)),"
            f" (select count(*) from judged anti join lake.raw.documents using (doc_id))"
        ).fetchone()
        assert row is not None
        self.report.overruled, self.report.unknown = row
        reasons = self._cursor.execute(
            "select reason, count(*) from named where reason is not null group by 1"
        ).fetchall()
        self.report.reasons.update(dict(reasons))

    def _store_rows(self, batch: pa.RecordBatch, schema: pa.Schema, print_: str, now: pa.Scalar) -> pa.Table:
        n = batch.num_rows
        columns: dict[str, pa.Array] = {}
        good = np.zeros(n, dtype=np.int64)
        refused: dict[int, dict[str, dict[str, str | None]]] = {}
        for number, category in enumerate(self._categories):
            first, second = batch.column(f"p{number}"), batch.column(f"s{number}")
            which, pairs = _distinct(first, second)
            read = [category.read(*pair) for pair in pairs]
            kinds = np.array([isinstance(each, Pair) for each in read])[which]
            good += kinds
            codes = [each if isinstance(each, Pair) else (None, None) for each in read]
            columns[category.category.name] = pa.StructArray.from_arrays(
                [pa.array([code[at] for code in codes], pa.string()).take(which) for at in (0, 1)], fields=list(VERDICT)
            )
            self._refuse(category, pairs, read, np.asarray(which), refused)
        statuses = np.where(good == len(self._categories), "ok", np.where(good > 0, "partial", "unparsed"))
        self.report.statuses.update(statuses.tolist())
        self.report.answers += n
        raw: list[str | None] = [None] * n
        for row, labels in refused.items():
            raw[row] = orjson.dumps(labels).decode()
        columns |= {
            "doc_id": batch.column("doc_id"),
            "labeler": pa.repeat(self._who.labeler, n),
            "fingerprint": pa.repeat(print_, n),
            "status": pa.array(statuses.tolist(), pa.string()),
            "raw": pa.array(raw, pa.string()),
            "tokens": pa.nulls(n, pa.int64()),
            "labelled_at": pa.repeat(now, n),
        }
        return pa.table([columns[name] for name in schema.names], schema=schema)

    def _refuse(
        self, category: GivenCategory, pairs: list[tuple[str | None, str | None]], read: list[Any], which: Any,
        refused: dict[int, dict[str, dict[str, str | None]]],
    ) -> None:  # fmt: skip
        """Note what was refused of a category, by row and in the counts."""
        name = category.category.name
        for index, reason in enumerate(read):
            if not isinstance(reason, str):
                continue
            rows = np.flatnonzero(which == index).tolist()
            said = f"{name}: {reason}"
            self.report.reasons[said] += len(rows)
            if said not in self.report.hints and (near := category.near(*pairs[index])):
                self.report.hints[said] = near
            for row in rows:
                primary, secondary = pairs[index]
                refused.setdefault(row, {})[name] = {"primary": primary, "secondary": secondary, "reason": reason}

    def _rejects(self, found: Shape, broken: list[tuple[int, str, bytes | None]], file_id: str) -> list[Path]:
        """Write the rows that are about no document."""
        labels = ["category", "rank", "first", "second"]
        if found.wide:
            labels = [f"{rank}{n}" for n, name in enumerate(self._names) if name in found.wide for rank in "ps"]
        written = {each: each for each in (*NAMES, *labels)}
        written |= {f"{rank}{n}": f"{name}_{long}" for n, name in enumerate(self._names) for rank, long in _RANKS}
        shown = ", ".join(f"'{written[each]}': given.{each}" for each in (*NAMES, *labels))
        rows = self._cursor.execute(
            f"select position, named.reason, encode(to_json({{{shown}}})::varchar) as raw"
            " from given join named using (position) where named.reason is not null order by position"
        ).to_arrow_table()
        self.report.rejected = rows.num_rows + len(broken)
        self.report.reasons.update(reason for _, reason, _ in broken)
        if not self.report.rejected:
            return []
        table = pa.concat_tables(
            [
                rows,
                pa.table([list(each) for each in zip(*broken, strict=True)], schema=rows.schema)
                if broken
                else rows.schema.empty_table(),
            ]
        )
        file_ids = pa.repeat(file_id, table.num_rows)
        raw = pc.binary_slice(table["raw"], 0, RAW_LIMIT)
        table = pa.table([file_ids, table["position"], table["reason"], raw], schema=REJECT_FILE)
        path = self._staging.file("raw.rejects")
        pq.write_table(table, path, compression="zstd")
        return [path]

    def _commit(self, checksum: str, file_id: str, answers: list[Path], rejects: list[Path], known: int | None) -> None:
        row: dict[str, Any] = {
            "file_id": file_id,
            "path": self.report.path,
            "bytes": self._stamp.bytes,
            "checksum": checksum,
            "format": FORMAT,
            "source": self._who.labeler,
            "rows": 0,  # no occurrence came of it
            "duplicates": 0,
            "rejected": self.report.rejected,
            "modified_ns": self._stamp.modified_ns,
            "ingested_at": datetime.now(UTC),
        }
        path = self._staging.file("raw.files")
        pq.write_table(pa.Table.from_pylist([row], schema=FILES), path, compression="zstd")
        message = f"labels by {self._who.labeler}: {self._entry.path.name}"
        with self._lake.commit(message, author=AUTHOR) as commit:
            if commit.sql(_KNOWN, [file_id]).fetchall() != [(known,)]:
                raise OSError("another process read it meanwhile; run again")
            for table in ("raw.files", "raw.rejects"):
                commit.sql(f"delete from {table} where file_id = ?", [file_id])
            commit.add("raw.files", [path])
            commit.add("raw.rejects", rejects)
            if answers:
                store.ensure(commit, self._who.store, self._who.columns)
                commit.add(self._who.store, answers)


_RANKS = (("p", "primary"), ("s", "secondary"))


def _distinct(first: pa.Array, second: pa.Array) -> tuple[pa.Array, list[tuple[str | None, str | None]]]:
    """The distinct pairs of two columns, and which of them each row has."""
    left, right = (pc.dictionary_encode(each, null_encoding="encode") for each in (first, second))
    lefts, rights = left.dictionary.to_pylist(), right.dictionary.to_pylist()
    width = max(len(rights), 1)
    both = pa.array(left.indices.to_numpy().astype(np.int64) * width + right.indices.to_numpy()).dictionary_encode()
    return both.indices, [(lefts[each // width], rights[each % width]) for each in both.dictionary.to_pylist()]
