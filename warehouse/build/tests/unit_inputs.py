"""The given rows of a unit test as tables of DuckDB: columns of the inputs that they replace, and literals."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from udfs.errors import CuveeError, did_you_mean
from warehouse.answers.calls import find
from warehouse.build.materialize.tables import TableColumn, describe, empty, lake_columns, seed_query
from warehouse.graph.parsing import tables, with_ctes
from warehouse.lake import quoting
from warehouse.lake.connection import duckdb_error
from warehouse.project.unit_properties import Rows, UnitTestError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from warehouse.graph.loaded_project import LoadedProject


def columns(
    opened: LoadedProject, present: Collection[str], key: str, cursor: duckdb.DuckDBPyConnection, said: str, rows: Rows
) -> Sequence[TableColumn]:
    """Return the columns of a node's relation: as it is in the lake, else as its query or its file would make it.

    ``present`` are the names of the relations that the lake has; ``said`` is how the unit test names this one.
    Raises UnitTestError if its columns cannot be known before it is built.
    """
    try:
        found = _columns(opened, present, key, cursor, frozenset())
    except (CuveeError, duckdb_error()):
        found = None
    if found:
        return found
    step = opened.graph.steps[key]
    what = "it is not in the lake, and schema.yml names no data_type for its columns"
    hint = "ingest it first, or give the rows as format: sql, with all columns"
    if step.kind != "source":
        what = "it is not in the lake, and its query cannot tell"
        hint = f"build it first: cuvee build --select +{step.name}; or give the rows as format: sql, with all columns"
    raise UnitTestError(f"the types of {said} are not known: {what}", where=rows.where, hint=hint)


def _columns(
    opened: LoadedProject,
    present: Collection[str],
    key: str,
    cursor: duckdb.DuckDBPyConnection,
    within: Collection[str],
) -> Sequence[TableColumn] | None:
    import sqlglot

    from warehouse.answers.stages import Stage

    step = opened.graph.steps[key]
    relation = opened.renderer.deferred.get(key) or step.relation
    if relation is not None and not relation.is_cte and relation.key in present:
        return describe(cursor, f"select * from {relation.render()}")
    if step.kind == "source":
        declared = [TableColumn(each.name, each.data_type) for each in step.node.columns if each.data_type]
        return declared if len(declared) == len(step.node.columns) else None
    if step.kind == "seed":
        return seed_query(cursor, step, opened.renderer.project.file(step.node.path))[0]
    if step.node.kind != "model" or step.tree is None or key in within:
        return None
    tree = step.tree.copy()
    for call in list(find(tree, step, opened.functions)):
        null = f"cast(null as {Stage(call, 0, '', '').type})"
        call.node.replace(sqlglot.parse_one(null, dialect="duckdb"))
    owners = {each.relation.key: each.id for each in opened.graph.steps.values() if each.relation is not None}
    queries: dict[str, str] = {}
    for table, name in list(tables(tree, opened.renderer.target.schema)):
        if name not in present and name in owners:
            above = _columns(opened, present, owners[name], cursor, {*within, key})
            if not above:
                return None
            cte = f"cuvee_absent_{list(owners).index(name)}"
            queries[cte] = f"{empty(above)} limit 0"
            rename(table, cte)
    sql, _ = with_ctes(tree.sql("duckdb"), (), queries)
    return lake_columns(cursor, sql)[0]


def rename(table: Any, name: str) -> None:
    """Replace a table of a syntax tree, under the name that the query has for it."""
    from sqlglot import exp

    if not table.alias:
        table.set("alias", exp.TableAlias(this=table.this.copy()))
    table.set("this", exp.to_identifier(name))
    table.set("db", None)
    table.set("catalog", None)


def typed(rows: Rows, known: Sequence[TableColumn], said: str, *, fill: bool) -> tuple[list[TableColumn], str]:
    """Return rows by column name as a query, each value cast to its column's type, and the query's columns.

    ``fill``: all of ``known``, what a row does not name being NULL; else those that any row names (all, if there is
    no row). Raises UnitTestError for a column that is not known.
    """
    assert rows.rows is not None
    by_name = {column.name.lower(): column for column in known}
    named: dict[str, TableColumn] = {}
    for row in rows.rows:
        for name in row:
            if name.lower() not in by_name:
                hint = did_you_mean(name.lower(), by_name)
                raise UnitTestError(f"{said} has no column {name!r}", where=rows.where, hint=hint)
            named[name.lower()] = by_name[name.lower()]
    columns = list(known) if fill or not rows.rows else list(named.values())
    if not rows.rows:
        return columns, f"{empty(columns)} limit 0"
    lines = []
    for row in rows.rows:
        values = {name.lower(): value for name, value in row.items()}
        cells = (f"cast({literal(values.get(each.name.lower()), each.type)} as {each.type})" for each in columns)
        lines.append(f"({', '.join(cells)})")
    names = ", ".join(quoting.quote(each.name) for each in columns)
    return columns, f"select * from (values {', '.join(lines)}) as given({names})"


def literal(value: Any, kind: str = "") -> str:
    """Write a value of a YAML file in SQL. ``kind`` is the type that it will be cast to."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(literal(each) for each in value)}]"
    if isinstance(value, Mapping):
        if kind.upper().startswith("MAP("):
            keys, values = ([literal(each) for each in side] for side in (value.keys(), value.values()))
            return f"map([{', '.join(keys)}], [{', '.join(values)}])"
        fields = ", ".join(f"{literal(str(name))}: {literal(each)}" for name, each in value.items())
        return f"{{{fields}}}" if fields else "null"
    text = repr(value) if isinstance(value, float) else str(value)
    return quoting.literal(text)


def answers(
    rows: Rows, schema: pa.Schema, result: str | None, name: str, cursor: duckdb.DuckDBPyConnection
) -> dict[str, Any]:
    """Return the answers that a unit test gives for an expensive function: text → value of the call.

    A row has ``text`` and the answer's columns. Raises UnitTestError for a column that the function does not have.
    """
    from warehouse.answers.store import duckdb_type

    fields = {field.name: field for field in schema}
    known = [TableColumn("text", "VARCHAR"), *(TableColumn(each.name, duckdb_type(each.type)) for each in schema)]
    if rows.sql is not None:
        given = cursor.sql(f"select * from ({rows.sql}\n)")
        rows = replace(
            rows, sql=None, rows=tuple(dict(zip(given.columns, row, strict=True)) for row in given.fetchall())
        )
    typed(rows, known, f"an answer of {name}", fill=True)
    found: dict[str, Any] = {}
    for row in rows.rows or ():
        values = {column.lower(): value for column, value in row.items()}
        if values.get("text") is None:
            hint = f"for example: {{text: 'a text', {next(iter(fields))}: …}}"
            raise UnitTestError(f"an answer of {name} needs its text", where=rows.where, hint=hint)
        value: Any = {column: values.get(column.lower()) for column in fields}
        found[str(values["text"])] = value[result] if result is not None else value
    return found
