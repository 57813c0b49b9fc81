"""Compute a query into a table of the lake: into a staged Parquet file that one commit registers.

The query runs outside any lake transaction. What it gave becomes a ``Change``: the part that needs the lake's lock,
a few statements and a rename. Several changes may share a commit; each is all there or not at all.

Views name tables without the catalog, so they work for a client that attaches the lake under another name. What Parquet
cannot hold is cast: HUGEINT (any ``sum`` of integers) to BIGINT, where an overflow is an error; ENUM and BIT to
VARCHAR; arrays of fixed length to lists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udfs.errors import Location, ProjectError
from warehouse.graph.parsing import SqlError, located
from warehouse.graph.step import Step
from warehouse.lake.connection import duckdb_error
from warehouse.lake.parquet import rows_of
from warehouse.lake.quoting import literal, quote
from warehouse.project.relation import LAKE, Relation

if TYPE_CHECKING:
    import duckdb

    from warehouse.lake.commit import Commit, Staging

#: What Parquet or DuckLake cannot hold, and what holds it instead. A sum of integers is a HUGEINT in DuckDB;
#: Parquet would make it a DOUBLE and lose digits, so it becomes a BIGINT, and one too large is an error.
_SUBSTITUTES = (
    (re.compile(r"\bUHUGEINT\b"), "UBIGINT"),
    (re.compile(r"\bHUGEINT\b"), "BIGINT"),
    (re.compile(r"\bENUM\((?:'(?:[^']|'')*'(?:, )?)*\)"), "VARCHAR"),
    (re.compile(r"\bBIT\b"), "VARCHAR"),
    (re.compile(r"\bVARIANT\b"), "JSON"),
    (re.compile(r"\[\d+\]"), "[]"),
    (re.compile(r'"NULL"'), "INTEGER"),
)

#: Every thread holds a row group or two, with 16 bytes for a string however short: of labels, 24 strings a row, the
#: usual 122,880 rows took 165 MB on two cores, and these take 60.
_MANY_STRINGS, _SMALL_GROUP = 16, 30_720


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a query's result and its type in the lake."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Change:
    """The change that a commit makes for one node."""

    relation: Relation
    kind: str  # table | view | append | delete+insert | merge | snapshot
    columns: tuple[TableColumn, ...] = ()
    files: tuple[Path, ...] = ()
    view: str = ""
    keys: tuple[str, ...] = ()
    remove: str = ""  # the condition of rows that go, where "t" is the table
    rows: int | None = None
    alter: tuple[str, ...] = ()  # changes of the table's columns, behind ALTER TABLE
    after: tuple[str, ...] = ()  # post-hooks

    def apply(self, commit: Commit, present: str | None) -> None:
        """Make the change. ``present`` is the kind of the relation now (``table``, ``view`` or None)."""
        name = f"{quote(self.relation.schema)}.{quote(self.relation.identifier)}"
        wanted = "view" if self.kind == "view" else "table"
        if present is None:
            commit.sql(f"create schema if not exists {LAKE}.{quote(self.relation.schema)}")
        elif present != wanted:
            commit.sql(f"drop {present} {LAKE}.{name}")
        table = f"{self.relation.schema}.{self.relation.identifier}"
        if self.kind == "view":
            commit.sql(f"create or replace view {LAKE}.{name} as {self.view}")
        elif self.kind == "table":
            commit.replace(table, empty(self.columns), self.files)
        else:
            for change in self.alter:
                commit.sql(f"alter table {LAKE}.{name} {change}")
            if self.keys:
                matching = " and ".join(f"t.{quote(key)} = n.{quote(key)}" for key in self.keys)
                commit.sql(
                    f"delete from {LAKE}.{name} as t where exists"
                    f" (select 1 from {rows_of(*self.files)} as n where {matching})"
                )
            if self.remove:
                commit.sql(f"delete from {LAKE}.{name} as t where {self.remove}")
            if self.rows:
                commit.add(table, self.files)
        for hook in self.after:
            commit.sql(hook)


#: What turns a step's query into a change of its relation.
Make = Callable[["duckdb.DuckDBPyConnection", "Staging", Step, Relation], Change]


def headed(
    make: Make, header: str, cursor: duckdb.DuckDBPyConnection, staging: Staging, step: Step, relation: Relation
) -> Change:
    """Run the statements that a model has before its query (``sql_header``): temporary macros, settings."""
    try:
        cursor.execute(header)
    except duckdb_error() as error:
        message = str(error).split("\n\n")[0]
        raise SqlError(f"sql_header: {message}", where=Location(step.node.path)) from error
    return make(cursor, staging, step, relation)


def table(cursor: duckdb.DuckDBPyConnection, staging: Staging, step: Step, relation: Relation) -> Change:
    """Compute a query into a file that will be all of ``relation``. Raises SqlError, located."""
    try:
        columns, query = lake_columns(cursor, step.sql)
        path = staging.file(f"{relation.schema}.{relation.identifier}")
        rows = copy(cursor, query, path, columns)
    except duckdb_error() as error:
        raise located(step, error) from error
    return Change(relation, "table", columns, (path,), rows=rows)


def view(cursor: duckdb.DuckDBPyConnection, staging: Staging, step: Step, relation: Relation) -> Change:
    """Check that DuckDB understands the view. It names the lake's tables without the catalog's name, so that it
    holds for any client, whatever it calls the lake.
    """
    try:
        cursor.execute(f"describe {step.sql}").fetchall()
    except duckdb_error() as error:
        raise located(step, error) from error
    return Change(relation, "view", view=step.sql.replace(f'"{LAKE}".', ""))


def seed(cursor: duckdb.DuckDBPyConnection, staging: Staging, step: Step, file: Path, relation: Relation) -> Change:
    """Read a CSV file. Types are DuckDB's own finding over the whole file, unless ``column_types`` says otherwise."""
    try:
        columns, query = seed_query(cursor, step, file)
        path = staging.file(f"{relation.schema}.{relation.identifier}")
        rows = copy(cursor, query, path)
    except duckdb_error() as error:
        raise ProjectError(str(error).split("\n\n")[0], where=Location(step.node.path)) from error
    return Change(relation, "table", columns, (path,), rows=rows)


def seed_query(cursor: duckdb.DuckDBPyConnection, step: Step, file: Path) -> tuple[tuple[TableColumn, ...], str]:
    """Return a seed's columns as the lake has them, and the query for its rows. Raises ProjectError, duckdb.Error."""
    config = step.node.config
    types: Mapping[str, Any] = config.get("column_types") or {}
    options = {
        "hive_partitioning": "false",  # else folders above it, such as env=prod/, would be columns
        "header": "true",
        "sample_size": "-1",
        "nullstr": "''",
        "quote": "'\"'",
        "escape": "'\"'",
        "delim": literal(config.get("delimiter", ",")),
        "auto_type_candidates": "['boolean', 'integer', 'bigint', 'double', 'date', 'timestamp', 'varchar']",
    }
    text = ", ".join(f"{name} = {value}" for name, value in options.items())
    source = f"read_csv({literal(file)}, {text}"
    if types:
        found = {column.name.lower(): column.name for column in describe(cursor, f"from {source})")}
        for name in types:  # a folder's column_types are for all its seeds: a name that is not a slip is another seed's
            if name.lower() not in found and (near := get_close_matches(name.lower(), found, 1)):
                message = f"column_types names {name!r}, which {step.node.path} does not have"
                raise ProjectError(message, where=step.node.described_at, hint=f"did you mean {found[near[0]]}?")
        pairs = [
            f"{literal(found[name.lower()])}: {literal(kind)}" for name, kind in types.items() if name.lower() in found
        ]
        source += f", types = {{{', '.join(pairs)}}}" if pairs else ""
    return lake_columns(cursor, f"select * from {source})")


def lake_columns(cursor: duckdb.DuckDBPyConnection, sql: str) -> tuple[tuple[TableColumn, ...], str]:
    """Return the columns of a query as the lake can hold them, and the query with the casts for that."""
    found = describe(cursor, sql)
    columns = tuple(TableColumn(column.name, _lake_type(column.type)) for column in found)
    casts = [
        f"cast({quote(column.name)} as {column.type}) as {quote(column.name)}"
        for column, before in zip(columns, found, strict=True)
        if column.type != before.type
    ]
    return columns, f"select * replace ({', '.join(casts)}) from ({sql}\n)" if casts else sql


def copy(cursor: duckdb.DuckDBPyConnection, query: str, path: Path, columns: Sequence[TableColumn] = ()) -> int:
    """Write a query's rows to a Parquet file. Returns their number. Rows of many strings come in smaller groups."""
    options = "format parquet, compression zstd"
    if sum(column.type.upper().count("VARCHAR") for column in columns) >= _MANY_STRINGS:
        options += f", row_group_size {_SMALL_GROUP}"
    return int(cursor.execute(f"copy ({query}\n) to {literal(path)} ({options})").fetchall()[0][0])


def empty(columns: Sequence[TableColumn]) -> str:
    """Return a query for no rows of these columns."""
    return "select " + ", ".join(f"cast(null as {column.type}) as {quote(column.name)}" for column in columns)


def describe(cursor: duckdb.DuckDBPyConnection, sql: str) -> list[TableColumn]:
    """Return the columns of a query and their DuckDB types."""
    return [TableColumn(str(row[0]), str(row[1])) for row in cursor.execute(f"describe {sql}").fetchall()]


def _lake_type(kind: str) -> str:
    for pattern, substitute in _SUBSTITUTES:
        kind = pattern.sub(substitute, kind)
    return kind
