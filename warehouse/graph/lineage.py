"""Find the lake table of a column that a query passes on unchanged.

``origin`` follows a plain column through subqueries, CTEs, unions and the project's models to its lake
table. Two columns with equal origins' ``row`` come from one row of that table: a text and a ``doc_id`` of the same row
are known to belong to one document.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlglot import exp

#: Gives the syntax tree of the model that is built as ``schema.name``, or None for any other table.
Models = Callable[[str], exp.Expr | None]


@dataclass(frozen=True, slots=True)
class Origin:
    """A column of a lake table, and which reading of the table (a table may be read twice) gives the row."""

    table: str
    column: str
    row: tuple[object, ...]


def origin(column: exp.Column, select: exp.Select, models: Models, schema: str) -> Origin | None:
    """Return the origin of a column used in ``select``; None if it is computed or not known."""
    if column.args.get("db"):
        return None
    return source_column(_source(select, column), column.name, models, schema)


def _source(select: exp.Select, column: exp.Expr) -> exp.Expr | None:
    """Return the relation in a FROM that a column (or a star) is of; None if it is not known."""
    sources = named_sources(select)
    if isinstance(column, exp.Column) and column.table:
        return sources.get(column.table.lower())
    return next(iter(sources.values())) if len(sources) == 1 else None


def named_sources(select: exp.Select) -> dict[str, exp.Expr]:
    """Return the relations of a FROM by the names that the query has for them, in lower case."""
    found = {}
    clause = select.args.get("from_")
    for source in [clause.this if clause else None, *(join.this for join in select.args.get("joins") or ())]:
        if source is not None and source.alias_or_name:
            found[source.alias_or_name.lower()] = source
    return found


def source_column(source: exp.Expr | None, name: str, models: Models, schema: str) -> Origin | None:
    """Return the origin of column ``name`` of a relation in a FROM."""
    if source is None or source.args.get("pivots") or source.args.get("sample"):
        return None
    alias = source.args.get("alias")
    if alias is not None and alias.args.get("columns"):
        return None
    if isinstance(source, exp.Subquery):
        found = output(source.this, name, models, schema)
    elif isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier):
        query = None if source.db else definition(source, source.name)
        if query is None:
            table = f"{source.db or schema}.{source.name}".lower()
            query = models(table)
            if query is None:
                return Origin(table, name.lower(), (id(source),))
        found = output(query, name, models, schema)
    else:
        return None
    return Origin(found.table, found.column, (id(source), *found.row)) if found else None


def output(query: exp.Expr, name: str, models: Models, schema: str) -> Origin | None:
    """Return the origin of the column that ``query`` returns as ``name``."""
    if isinstance(query, exp.Subquery):
        return output(query.this, name, models, schema)
    if isinstance(query, exp.SetOperation):
        if query.args.get("by_name"):
            return None
        left, right = (output(side, name, models, schema) for side in (query.left, query.right))
        if left is None or right is None or (left.table, left.column) != (right.table, right.column):
            return None
        return Origin(left.table, left.column, (left.row, right.row))
    if not isinstance(query, exp.Select):
        return None
    for item in query.expressions:
        if item.is_star:
            star = item.this if isinstance(item, exp.Column) else item
            if any(star.args.get(key) for key in ("replace", "rename")):
                return None
            if name.lower() in {each.name.lower() for each in star.args.get("except_") or ()}:
                continue
            return source_column(_source(query, item), name, models, schema)
        if item.alias_or_name.lower() == name.lower():
            plain = item.unalias()
            return origin(plain, query, models, schema) if isinstance(plain, exp.Column) else None
    return None


def definition(node: exp.Expr, name: str) -> exp.Expr | None:
    """Return the query of the CTE ``name`` as seen at ``node``; None for a table, or a CTE with column names."""
    inside: exp.Expr | None = None
    here: exp.Expr | None = node
    while here is not None:
        clause = here.args.get("with_")
        found: exp.Expr | None = None
        for cte in clause.expressions if isinstance(clause, exp.With) else ():
            if cte is inside:
                break
            if cte.alias.lower() == name.lower() and not cte.args["alias"].args.get("columns"):
                found = cte.this
        if found is not None:
            return found
        if isinstance(here, exp.CTE):
            inside = here
        here = here.parent
    return None
