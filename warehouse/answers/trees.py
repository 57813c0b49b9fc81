"""Facts about syntax trees, and changes to them, that rewriting a query needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sqlglot import exp

from warehouse.graph import lineage

if TYPE_CHECKING:
    from warehouse.answers.calls import Call

_UNSTABLE = {
    "random", "uuid", "gen_random_uuid", "uuidv4", "uuidv7", "now", "get_current_timestamp", "transaction_timestamp",
    "current_date", "current_time", "current_timestamp", "localtimestamp", "localtime", "today", "get_current_time",
    "nextval", "currval", "rand",
}  # fmt: skip


def inner_first(node: exp.Expr) -> Iterator[exp.Expr]:
    """Yield all SELECTs, each after those it reads: CTEs in their order, then FROM, then the rest."""
    first = ("with_", "from_", "joins", "laterals")
    for key in (*first, *(key for key in node.args if key not in first)):
        value = node.args.get(key)
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, exp.Expr):
                yield from inner_first(child)
    if isinstance(node, exp.Select):
        yield node


def place_of(node: exp.Expr, select: exp.Expr) -> exp.Expr:
    """Return the part of the SELECT (a projection, WHERE, a join, …) that contains a node."""
    while node.parent is not None and node.parent is not select:
        node = node.parent
    return node


def in_window(node: exp.Expr) -> bool:
    parent = node.parent
    while isinstance(parent, exp.Filter | exp.IgnoreNulls | exp.RespectNulls | exp.WithinGroup):
        node, parent = parent, parent.parent
    return isinstance(parent, exp.Window) and parent.this is node


def source_names(select: exp.Select) -> list[str]:
    """Return the names of the relations in FROM. Those without a name get one."""
    clause = select.args.get("from_")
    sources = [clause.this] if clause else []
    sources += [join.this for join in select.args.get("joins") or ()]
    names = []
    for index, source in enumerate(sources):
        if not source.alias_or_name:
            source.set("alias", exp.TableAlias(this=exp.to_identifier(f"source_{index}")))
        names.append(source.alias_or_name)
    return names


def where_uses_alias(select: exp.Select) -> bool:
    """Return whether the WHERE uses a projection by its name, so that a call in the projection is evaluated there."""
    names = {item.alias.lower() for item in select.expressions if isinstance(item, exp.Alias)}
    clause = select.args.get("where")
    return clause is not None and any(
        not column.table and column.name.lower() in names for column in clause.find_all(exp.Column)
    )


def conjuncts(node: exp.Expr) -> Iterator[exp.Expr]:
    if isinstance(node, exp.And):
        yield from conjuncts(node.left)
        yield from conjuncts(node.right)
    elif isinstance(node, exp.Paren) and isinstance(node.this, exp.And):
        yield from conjuncts(node.this)
    else:
        yield node


def nullable(name: str, select: exp.Select) -> bool:
    """Return whether an outer join may fill up the rows of a relation with NULLs."""
    joins = select.args.get("joins") or []
    position = next((i + 1 for i, join in enumerate(joins) if join.this.alias_or_name.lower() == name.lower()), 0)
    if position and (joins[position - 1].side or "").upper() in ("LEFT", "FULL"):
        return True
    if position and (joins[position - 1].kind or "").upper() in ("SEMI", "ANTI"):
        return True
    return any((join.side or "").upper() in ("RIGHT", "FULL") for join in joins[position:])


def spell_cross_joins(select: exp.Select, call: Call) -> None:
    """Turn commas in FROM into CROSS JOIN, which binds like the join that is added after them."""
    comma = False
    for join in select.args.get("joins") or ():
        plain = not any(join.args.get(key) for key in ("kind", "side", "method", "on", "using", "match_condition"))
        if plain:
            join.set("kind", "CROSS")
            comma = True
        elif comma and (join.side or "").upper() in ("RIGHT", "FULL"):
            raise call.refused(
                "is next to a comma and a RIGHT or FULL JOIN in one FROM", "write CROSS JOIN for the comma"
            )


def hide(select: exp.Select, names: Sequence[str]) -> None:
    """Keep columns that are only there for the rewriting out of every ``*`` of the SELECT."""
    for star in list(select.find_all(exp.Star)):
        if star.find_ancestor(exp.Select) is not select or isinstance(star.parent, exp.Count):
            continue
        # ``alias.*`` shows only columns of that relation: hidden ones if it was wrapped for them.
        if isinstance(star.parent, exp.Column) and not has_hidden(star.parent, select, names):
            continue
        star.set("except_", [*(star.args.get("except_") or ()), *(exp.column(name) for name in names)] or None)


def has_hidden(column: exp.Column, select: exp.Select, names: Sequence[str]) -> bool:
    """Return whether ``alias.*`` would show a hidden column: only of the relation that was wrapped for it."""
    source = lineage.named_sources(select).get(column.table.lower())
    return isinstance(source, exp.Subquery) and any(item.alias == names[0] for item in source.this.expressions)


def keep_names(select: exp.Select, here: Sequence[Call]) -> None:
    """Name projections without a name: DuckDB names them after their text, which is about to change."""
    inside = {id(place_of(call.node, select)) for call in here}
    for item in list(select.expressions):
        if id(item) in inside and not isinstance(item, exp.Alias | exp.Star) and not item.is_star:
            name = item.expression.name if isinstance(item, exp.Dot) else item.sql("duckdb", normalize_functions=False)
            alias = exp.Alias(alias=exp.to_identifier(name, quoted=True))
            item.replace(alias)
            alias.set("this", item)


def instability(*parts: exp.Expr) -> str | None:
    """Say in words why the rows of a query may differ from one time to the next. Returns None if they do not."""
    for part in parts:
        for node in part.walk():
            if isinstance(node, exp.Anonymous) and str(node.this).lower() in _UNSTABLE:
                return f"{str(node.this).lower()}()"
            if (
                isinstance(node, exp.Func)
                and not isinstance(node, exp.Anonymous)
                and _UNSTABLE & {name.lower() for name in node.sql_names()}
            ):
                return f"{node.sql_names()[0].lower()}()"
            if isinstance(node, exp.TableSample):
                return "a sample"
            if isinstance(node, exp.Query) and not isinstance(node, exp.Subquery):
                limit = node.args.get("limit")
                limited = limit or node.args.get("offset")
                if isinstance(limit, exp.Limit) and limit.expression == exp.Literal.number(0):
                    continue  # no rows are the same every time
                if limited and not node.args.get("order"):
                    return "a LIMIT without ORDER BY"
    return None
