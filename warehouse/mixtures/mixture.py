"""A mixture as an export sees it: the rows of a relation at one snapshot, checked, counted and fingerprinted."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from udfs.errors import ExportError, UsageError, did_you_mean
from warehouse.lake.quoting import quote

COLUMNS = ("doc_id", "component", "copies", "n_tokens")
_INTEGERS = ("BIGINT", "INTEGER", "SMALLINT", "TINYINT", "UINTEGER", "USMALLINT", "UTINYINT")


class MixtureError(ExportError):
    """A relation that is not a mixture: columns are missing, or its rows break a mixture's rules."""


@dataclass(frozen=True, slots=True)
class Level:
    """A stream to be: the documents of a component that have at least ``copies`` copies, seen ``repeat`` times.

    Documents with k and k + 1 copies make two levels: `all` with copies = repeat = k, and `more` with copies = k + 1
    and repeat = 1. Copies that differ by more make more levels; what a document gets is the sum over its levels.
    """

    component: str
    path: str
    copies: int
    repeat: int


@dataclass(frozen=True, slots=True)
class ComponentSize:
    """What a component has in the mixture. ``copies`` and ``tokens`` count repeats.

    ``max_epochs`` is how often its documents may be seen, None where the mixture's query does not say it.
    """

    documents: int
    copies: int
    tokens: int
    max_epochs: float | None = None


@dataclass(frozen=True, slots=True)
class Mixture:
    """A mixture's name, its query where known, its snapshot, and what its components have.

    ``labels`` are its further columns that are exported, with their MDS encodings.
    """

    name: str
    sql: str | None
    snapshot_id: int
    fingerprint: str
    components: dict[str, ComponentSize]
    levels: tuple[Level, ...]
    labels: tuple[tuple[str, str], ...] = ()


def freeze(cursor: duckdb.DuckDBPyConnection, name: str, seed: int, labels: tuple[str, ...] = ()) -> Mixture:
    """Read a mixture once, into the temporary table ``mixture_documents`` of this connection.

    The table has a row per document and component: doc_id, component, copies, n_tokens, place (the hex digits that
    order the documents), and where the text is: file, row, n_chars; then ``labels``, further columns of the relation.
    The connection must be in a transaction, so that everything read from it is of one snapshot. Raises UsageError for
    an unknown name, MixtureError for bad rows.
    """
    relation, sql = find(cursor, name)
    types = _types(cursor, name, relation)
    chosen = _labels(name, types, labels)
    further = "".join(f", {value} as {quote(label)}" for label, (value, _) in chosen.items())
    try:
        # filename and file_row_number are virtual columns; deleted rows do not appear.
        cursor.execute(
            f"""
            create temp table mixture_documents as
            select
                mixture.doc_id::varchar as doc_id,
                mixture.component::varchar as component,
                mixture.copies::bigint as copies,
                mixture.n_tokens::bigint as n_tokens,
                md5('{seed}:' || mixture.doc_id) as place,
                documents.filename as file,
                documents.file_row_number as row,
                documents.n_chars{further}
            from {relation} as mixture
            left join raw.documents as documents on documents.doc_id = mixture.doc_id
            """
        )
    except duckdb.Error as error:
        raise MixtureError(f"cannot read {name}: {error}") from error
    _check(cursor, name, labels)
    components, levels = _components(cursor, _max_epochs(cursor, sql)), _levels(cursor)
    if not components:
        raise MixtureError(f"{name} has no documents")
    return Mixture(
        name=name,
        sql=sql,
        snapshot_id=current_snapshot(cursor),
        fingerprint=fingerprint(cursor, "temp.mixture_documents"),
        components=components,
        levels=levels,
        labels=tuple((label, encoding) for label, (_, encoding) in chosen.items()),
    )


def ask_cte(cursor: duckdb.DuckDBPyConnection, sql: str | None, cte: str, columns: str) -> list[tuple[Any, ...]]:
    """Select columns of a CTE that the macro ``mixture`` writes into its query; no rows if the query has none."""
    if sql is None or cte not in sql:
        return []
    import sqlglot

    query = sqlglot.parse_one(re.sub(r"^\s*create\s+.*?\bas\b", "", sql, count=1, flags=re.I | re.S), dialect="duckdb")
    ctes = query.args.get("with_") or query.args.get("with")
    if ctes is None or cte not in {each.alias for each in ctes.expressions}:
        return []
    question = sqlglot.parse_one(f"select {columns} from {cte}", dialect="duckdb")
    question.set("with_", ctes)
    return cursor.execute(question.sql(dialect="duckdb")).fetchall()


def _max_epochs(cursor: duckdb.DuckDBPyConnection, sql: str | None) -> dict[str, float]:
    """Return how often each component's documents may be seen, where the mixture's query says so."""
    try:
        return dict(ask_cte(cursor, sql, "mixture_asked", "component, epochs / 1000000.0"))
    except duckdb.Error:  # its shares are a relation that is gone
        return {}


def current_snapshot(cursor: duckdb.DuckDBPyConnection) -> int:
    """Return the id of the snapshot that a transaction reads."""
    row = cursor.execute("select id from lake.current_snapshot()").fetchone()
    assert row
    return int(row[0])


def read_mixture(cursor: duckdb.DuckDBPyConnection, name: str, table: str) -> str | None:
    """Put the rows of the mixture ``name`` (or ``name@12``) into the temporary table ``table``, and return its query.

    Raises UsageError for an unknown name, MixtureError for a relation that is not a mixture.
    """
    plain, _, version = name.partition("@")
    if version and not version.isdigit():
        raise UsageError(f"{name}: {version} is not a valid snapshot", hint="cuvee lake lists them: baseline@12")
    relation, sql = find(cursor, plain)
    at = f" at (version => {version})" if version else ""
    try:
        _types(cursor, name, relation + at)
        cursor.execute(
            f"""
            create temp table {table} as
            select doc_id::varchar as doc_id, component::varchar as component, copies::bigint as copies,
                n_tokens::bigint as n_tokens
            from {relation}{at}
            """
        )
    except duckdb.Error as error:
        hint = "cuvee lake lists snapshots; a view has no past, only tables do" if version else None
        raise MixtureError(f"cannot read {name}: {error}", hint=hint) from error
    return sql


def _types(cursor: duckdb.DuckDBPyConnection, name: str, relation: str) -> dict[str, str]:
    """Return the types of a relation's columns. Raises MixtureError if it is not a mixture."""
    types = {str(column[0]): str(column[1]) for column in cursor.execute(f"describe from {relation}").fetchall()}
    if missing := [column for column in COLUMNS if column not in types]:
        raise MixtureError(
            f"{name} is not a mixture: it lacks {', '.join(missing)}",
            hint=f"a mixture has {', '.join(COLUMNS)}; it has {', '.join(types)}",
        )
    return types


def _labels(name: str, types: Mapping[str, str], labels: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """Return for each label the expression whose values are exported, and the encoding.

    Numbers stay numbers, lists and structs become JSON, everything else text.
    """
    chosen = {}
    further = [column for column in types if column not in COLUMNS]
    for label in labels:
        if label not in further or label in ("id", "text"):
            hint = did_you_mean(label, further) or f"besides {', '.join(COLUMNS)} it has {', '.join(further) or 'none'}"
            raise UsageError(f"{name} has no label column {label!r}", hint=hint)
        value, kind = f"mixture.{quote(label)}", types[label]
        if kind in _INTEGERS:
            chosen[label] = (f"{value}::bigint", "int")
        elif kind in ("FLOAT", "DOUBLE"):
            chosen[label] = (f"{value}::double", "float64")
        elif kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "JSON", "BOOLEAN")):
            chosen[label] = (f"to_json({value})::varchar", "json")
        else:
            chosen[label] = (f"{value}::varchar", "str")
    return chosen


def fingerprint(cursor: duckdb.DuckDBPyConnection, relation: str) -> str:
    """Return a digest of documents, components and copies: 32 hex digits, whatever the order of the rows."""
    row = cursor.execute(
        f"""
        select md5(concat_ws(' ', count(*), sum(md5_number_lower(entry)::hugeint),
            sum(md5_number_upper(entry)::hugeint)))
        from (select doc_id || ' ' || copies || ' ' || component as entry from {relation})
        """
    ).fetchone()
    assert row
    return str(row[0])


def find(cursor: duckdb.DuckDBPyConnection, name: str) -> tuple[str, str | None]:
    """Return the quoted relation that a model's name means, with the query it was made from where that is known.

    Raises UsageError for a name that no relation or several have.
    """
    rows = cursor.execute(
        """
        select schema_name, view_name, sql from duckdb_views() where database_name = 'lake' and not internal
        union all
        select schema_name, table_name, null from duckdb_tables() where database_name = 'lake'
        """
    ).fetchall()
    schema, _, table = name.rpartition(".")
    found = [row for row in rows if row[1] == table and schema in ("", row[0])]
    if not found:
        known = [row[1] for row in rows if row[0] not in ("raw", "labels", "counts", "exports", "runs", "cuvee")]
        raise UsageError(f"no mixture {name!r} in the lake", hint=did_you_mean(table, known) or "build it: cuvee build")
    if len(found) > 1:
        places = " or ".join(sorted(f"{row[0]}.{row[1]}" for row in found))
        raise UsageError(f"{name!r} is in several schemas", hint=f"say {places}")
    schema, table, sql = found[0]
    if not sql:  # a table: the builder knows what it made it from
        built = "select sql from cuvee.nodes where lower(relation) = lower(?) and status = 'built'"
        row = cursor.execute(f"{built} order by built_at desc limit 1", [f"{schema}.{table}"]).fetchone()
        sql = str(row[0]) if row else None
    return ".".join(map(quote, ("lake", schema, table))), sql


def _check(cursor: duckdb.DuckDBPyConnection, name: str, labels: tuple[str, ...]) -> None:
    rules = {
        "has no doc_id or no component": "doc_id is null or component is null",
        "has copies that are not 1 or more": "copies is null or copies < 1",
        "has no n_tokens": "n_tokens is null or n_tokens < 0",
        "is not in raw.documents": "file is null",
        **{f"has no {label}, and MDS has no NULL": f"{quote(label)} is null" for label in labels},
    }
    flags = ", ".join(f"count(*) filter ({rule}), min(doc_id) filter ({rule})" for rule in rules.values())
    found = cursor.execute(f"select {flags} from temp.mixture_documents").fetchone()
    assert found
    for index, rule in enumerate(rules):
        if found[2 * index]:
            hint = "write coalesce(…) in the mixture" if rule.endswith("NULL") else None
            message = f"{name}: document {found[2 * index + 1]} {rule} ({found[2 * index]:,} such rows)"
            raise MixtureError(message, hint=hint)
    twice = cursor.execute(
        """
        select doc_id, component, count(*) from temp.mixture_documents
        group by doc_id, component having count(*) > 1 order by all limit 1
        """
    ).fetchone()
    if twice:
        raise MixtureError(
            f"{name}: document {twice[0]} is {twice[2]} times in component {twice[1]}",
            hint="a mixture has one row per document of a component; how often it is seen is its copies",
        )


def _components(cursor: duckdb.DuckDBPyConnection, max_epochs: Mapping[str, float]) -> dict[str, ComponentSize]:
    """Count documents, copies and tokens by component."""
    rows = cursor.execute(
        """
        select component, count(*), sum(copies)::bigint, sum(n_tokens * copies)::bigint
        from temp.mixture_documents group by component order by component
        """
    ).fetchall()
    return {
        name: ComponentSize(documents=documents, copies=copies, tokens=tokens, max_epochs=max_epochs.get(name))
        for name, documents, copies, tokens in rows
    }


def _levels(cursor: duckdb.DuckDBPyConnection) -> tuple[Level, ...]:
    rows = cursor.execute(
        "select component, copies from temp.mixture_documents group by component, copies order by component, copies"
    ).fetchall()
    folders: dict[str, str] = {}
    levels: list[Level] = []
    for component, copies in rows:
        if component not in folders:
            folders[component] = _folder(component, set(folders.values()))
        below = [level for level in levels if level.component == component]
        stream = ["all", "more"][len(below)] if len(below) < 2 else f"more-{len(below)}"
        repeat = copies - (below[-1].copies if below else 0)
        levels.append(Level(component, f"{folders[component]}/{stream}", copies, repeat))
    return tuple(levels)


def _folder(component: str, taken: set[str]) -> str:
    """Choose a folder name for a component: safe on every file system, unique even where case does not count."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", component).strip("-.") or "component"
    lowered = {other.lower() for other in taken}
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(each for each in names if each.lower() not in lowered)
