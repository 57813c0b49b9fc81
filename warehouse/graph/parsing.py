"""The query of a node: its syntax tree, the tables it reads, and the places of errors in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from udfs.errors import CuveeError, Location
from warehouse.graph.step import Step
from warehouse.project.relation import EPHEMERAL

if TYPE_CHECKING:
    import duckdb
    from sqlglot import exp

_OPENING = re.compile(r"(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*(with\s+(?:recursive\s)?)?", re.IGNORECASE | re.DOTALL)
_UNKNOWN_FUNCTION = re.compile(r"Function with name \"?(\w+)\"? does not exist")
_DUCKDB_LINE = re.compile(r"LINE (\d+): (.*)\n( *)\^")


class SqlError(CuveeError):
    """The SQL of a model is wrong."""


def parse(step: Step) -> exp.Expr | None:
    """Return the syntax tree of a step's SQL; None if only DuckDB understands it. Raises SqlError, located."""
    import duckdb
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        _judge().extract_statements(step.sql)  # 7 µs a model; sqlglot lets pass what DuckDB does not, and the reverse
    except duckdb.Error as error:
        raise located(step, error) from error
    try:
        trees = sqlglot.parse(step.sql, dialect="duckdb")
    except (SqlglotError, RecursionError):  # a CASE of some hundred levels is too deep for it
        return None
    queries = [tree for tree in trees if tree is not None]
    if len(queries) != 1:
        what = "is empty" if not queries else "has several statements"
        raise SqlError(f"{step.node.kind} {step.name} {what}", where=step.node.where, hint="a node is one query")
    from sqlglot import exp

    tree = queries[0]
    kinds = exp.Query | exp.Pivot | exp.Values | exp.Subquery | exp.Command | exp.Describe | exp.Summarize
    if not isinstance(tree, kinds):
        message = f"{step.node.kind} {step.name} is not a query but {tree.key.upper()}"
        raise SqlError(message, where=step.locate(1), hint="write the SELECT only; the table is created around it")
    return tree


@cache
def _judge() -> duckdb.DuckDBPyConnection:
    """Return a connection that is used for parsing only."""
    import duckdb

    return duckdb.connect()


def located(step: Step, error: Exception) -> SqlError:
    """Return a DuckDB error as a SqlError that shows the line in the model's own file."""
    text = str(error)
    found = _DUCKDB_LINE.search(text)
    message = text[: found.start()].strip() if found else text.strip()
    where = step.locate(int(found[1])) if found else Location(step.node.path)
    shown = step.excerpt(where) or (found and found[0])
    hints = [hint for hint in (shown, unknown_function(text)) if hint]
    return SqlError(message, where=where, hint="\n  ".join(hints) or None)


def unknown_function(message: str) -> str | None:
    """Return a hint with the nearest expensive function, if DuckDB does not know the one that is called."""
    found = _UNKNOWN_FUNCTION.search(message)
    if found is None:
        return None
    from udfs.registry import Resources, expensive_functions

    near = get_close_matches(found[1].lower(), expensive_functions(Resources((Path(),), Path())))
    return f"did you mean {near[0]}?" if near else None


def table_names(tree: exp.Expr, schema: str) -> Iterator[str]:
    """Return the lake tables that a query reads, as ``schema.name`` in lower case.

    Names of its own CTEs are left out, and what ephemeral models read: the edge goes through them.
    """
    from sqlglot import exp

    for table, name in tables(tree, schema):
        inside = table.find_ancestor(exp.CTE)
        while inside is not None and not inside.alias.startswith(EPHEMERAL):
            inside = inside.find_ancestor(exp.CTE)
        if inside is None:
            yield name


def tables(tree: exp.Expr, schema: str) -> Iterator[tuple[exp.Table, str]]:
    """Yield each place where a query names a table, not a CTE, and the table as ``schema.name`` in lower case."""
    from sqlglot import exp

    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            continue
        name = table.name.lower()
        if table.db or not _is_cte(table, name):
            yield table, f"{(table.db or schema).lower()}.{name}"


def _is_cte(table: exp.Expr, name: str) -> bool:
    """Return whether a WITH around ``table`` defines ``name``. A CTE sees those before it; if recursive, itself too."""
    from sqlglot import exp

    inside: exp.Expr | None = None  # the CTE around the table
    here: exp.Expr | None = table
    while here is not None:
        clause = here.args.get("with_")
        recursive = isinstance(clause, exp.With) and clause.recursive
        for cte in clause.expressions if isinstance(clause, exp.With) else ():
            named = cte.alias.lower() == name
            if cte is inside:
                if recursive and named:
                    return True
                break
            if named:
                return True
        if isinstance(here, exp.CTE):
            inside = here
        here = here.parent
    return False


def with_ctes(sql: str, lines: tuple[int, ...], queries: Mapping[str, str]) -> tuple[str, tuple[int, ...]]:
    """Put other queries into a query's WITH, by name and before its own. Returns the SQL and its line map."""
    if not queries:
        return sql, lines
    opening = _OPENING.match(sql)
    assert opening is not None
    ctes = ",\n".join(f"{name} as (\n{query}\n)" for name, query in queries.items())
    head, tail = sql[: opening.end()], sql[opening.end() :]
    before = head.count("\n")
    return (
        f"{head}{ctes},\n{tail}" if opening[1] else f"{head}with {ctes}\n{tail}",
        (*lines[:before], *([0] * (ctes.count("\n") + 1)), *lines[before:]),
    )
