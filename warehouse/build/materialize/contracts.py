"""Contracts: what a model promises of its columns, and its rows, before anybody reads it.

    config: {contract: {enforced: true}}
    columns: [{name: id, data_type: integer, constraints: [{type: not_null}]}]

Names and types are compared with the query's before it runs. ``not_null``, ``check``, ``unique`` and ``primary_key``
are checked on the computed rows before they are committed; views have no rows of their own, so their constraints
hold nobody, as in dbt. ``foreign_key`` and ``custom`` constraints are not enforced, and the build says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from udfs.errors import CuveeError, Location, did_you_mean
from warehouse.lake.quoting import quote
from warehouse.project.project import Node

if TYPE_CHECKING:
    import duckdb

    from warehouse.build.materialize.tables import Change, Make
    from warehouse.graph.graph import Step
    from warehouse.lake.lake import Staging
    from warehouse.project.relation import Relation

_ENFORCED = ("not_null", "check", "unique", "primary_key")
_KINDS = (*_ENFORCED, "foreign_key", "custom")
_POLICIES = ("append_new_columns", "fail")


class ContractError(CuveeError):
    """A contract cannot be, or a model breaks its own."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A constraint. ``columns`` are what it is about, ``condition`` what a row has to satisfy, if it is a check."""

    kind: str
    columns: tuple[str, ...]
    condition: str
    where: Location

    @property
    def title(self) -> str:
        return f"{self.kind} ({self.condition or ', '.join(self.columns)})"


@dataclass(frozen=True, slots=True)
class Contract:
    """What a model promises: its columns with their types, in order, and constraints."""

    columns: tuple[tuple[str, str], ...]
    rules: tuple[Rule, ...]
    where: Location
    silent: tuple[str, ...]  # kinds of constraints that are not enforced and whose author wants to be told

    @property
    def terms(self) -> list[Any]:
        """All of it in plain values."""
        return [self.columns, [(rule.kind, rule.columns, rule.condition) for rule in self.rules]]


def contract(node: Node) -> Contract | None:
    """The contract of a model with its final config; None if it has none. Raises ContractError for what cannot be."""
    config = node.config.get("contract")
    materialized = node.config.get("materialized", "view")
    if node.kind != "model" or not isinstance(config, Mapping) or not config.get("enforced"):
        return None
    where = node.described_at or node.where
    if materialized == "incremental" and node.config.get("on_schema_change") not in _POLICIES:
        raise ContractError(
            f"{node.name}: an incremental model with a contract needs on_schema_change",
            where=where,
            hint="on_schema_change: append_new_columns, or fail",
        )
    untyped = [column.name for column in node.columns if not column.data_type]
    if untyped or not node.columns:
        what = f"no data_type for {', '.join(untyped)}" if untyped else "no columns"
        raise ContractError(
            f"{node.name}: its contract has {what}", where=where, hint="- {name: id, data_type: integer}"
        )
    rules = [rule for column in node.columns for rule in _rules(node, column.constraints, (column.name,), column.line)]
    rules += _rules(node, node.constraints, (), where.line)
    given = [spec for column in node.columns for spec in column.constraints] + list(node.constraints)
    return Contract(
        tuple((column.name, str(column.data_type)) for column in node.columns),
        tuple(rules),
        where,
        tuple(
            str(spec["type"])
            for spec in given
            if spec["type"] not in _ENFORCED
            and spec.get("warn_unenforced", True)
            and spec.get("warn_unsupported", True)
        ),
    )


def _rules(
    node: Node, specs: Sequence[Mapping[str, Any]], columns: tuple[str, ...], line: int | None
) -> Iterator[Rule]:
    where = Location(node.described_at.path if node.described_at else node.path, line)
    for spec in specs:
        kind = spec.get("type")
        if kind not in _KINDS:
            raise ContractError(
                f"{node.name}: there is no constraint {kind!r}", where=where, hint=did_you_mean(str(kind), _KINDS)
            )
        about = columns or tuple(map(str, spec.get("columns") or ()))
        condition = str(spec.get("expression") or "") if kind == "check" else ""
        if kind in _ENFORCED and not (condition if kind == "check" else about):
            missing = "expression" if kind == "check" else "columns"
            raise ContractError(f"{node.name}: its constraint {kind} has no {missing}", where=where)
        for name in about:
            if name not in [column.name for column in node.columns]:
                known = [column.name for column in node.columns]
                raise ContractError(
                    f"{node.name}: its constraint {kind} names {name!r}, which is no column of it",
                    where=where,
                    hint=did_you_mean(name, known),
                )
        if kind in ("not_null", "primary_key"):
            yield from (Rule("not_null", (name,), "", where) for name in about)
        if kind in ("unique", "primary_key"):
            yield Rule("unique", about, "", where)
        if kind == "check":
            yield Rule("check", about, condition, where)


def kept(
    make: Make, promised: Contract, cursor: duckdb.DuckDBPyConnection, staging: Staging, step: Step, relation: Relation
) -> Change:
    """``make`` the change of a model under its contract: its columns first, then its rows. A view has none of its own.

    Raises ContractError, and what ``make`` raises.
    """
    agreeing = agreed(cursor, step, promised)
    if step.kind == "view":
        return make(cursor, staging, step, relation)
    change = make(cursor, staging, agreeing, relation)
    enforce(cursor, step, promised, change)
    return change


def agreed(cursor: duckdb.DuckDBPyConnection, step: Step, promised: Contract) -> Step:
    """The step with its columns in the contract's order. Raises ContractError if they are not those of the contract.

    A type counts as kept if the query has it, or if the lake's table will: a sum of integers is a HUGEINT in the
    query and a BIGINT in the table.
    """
    import duckdb

    from warehouse.build.materialize.tables import describe, lake_columns
    from warehouse.graph.parsing import located

    try:
        found = {each.name: each.type for each in describe(cursor, step.sql)}
        held = {each.name: each.type for each in lake_columns(cursor, step.sql)[0]}
    except duckdb.Error as error:
        raise located(step, error) from error
    casts = ", ".join(f"cast(null as {kind}) as {quote(name)}" for name, kind in promised.columns)
    try:
        wanted = {each.name: each.type for each in describe(cursor, f"select {casts}")}
    except duckdb.Error as error:
        message = str(error).split("\n")[0]
        raise ContractError(
            f"{step.name}: its contract has a type that is none: {message}", where=promised.where
        ) from error
    rows = [
        (name, found.get(name, "–"), wanted.get(name, "–"))
        for name in dict.fromkeys([*wanted, *found])
        if wanted.get(name) not in (found.get(name), held.get(name)) or name not in wanted
    ]
    if rows:
        raise ContractError(
            f"{step.name}: the query's columns are not those of its contract",
            where=promised.where,
            hint=_table([("column", "in the query", "in the contract"), *rows]),
        )
    names = ", ".join(quote(name) for name, _ in promised.columns)
    return replace(step, sql=f"select {names} from ({step.sql}\n)")


def enforce(cursor: duckdb.DuckDBPyConnection, step: Step, promised: Contract, change: Change) -> None:
    """Check the constraints on the rows that a change brings. Raises ContractError with how many break which.

    Whether they are unique is asked of the table as it will be.
    """
    broken: list[tuple[str, str]] = []
    for rule in promised.rules:
        count = _count(cursor, step, rule, _violations(cursor, rule, change))
        if count:
            broken.append((rule.title, f"{count:,}"))
    if broken:
        first = next(rule.where for rule in promised.rules if rule.title == broken[0][0])
        raise ContractError(
            f"{step.name}: rows break its contract; nothing is written",
            where=first,
            hint=_table([("constraint", "rows"), *broken]),
        )


def _violations(cursor: duckdb.DuckDBPyConnection, rule: Rule, change: Change) -> str:
    files = ", ".join("'" + str(file).replace("'", "''") + "'" for file in change.files)
    rows = f"read_parquet([{files}])"
    if rule.kind == "check":
        return f"select 1 from {rows} where not ({rule.condition})"
    names = [quote(name) for name in rule.columns]
    if rule.kind == "not_null":
        return f"select 1 from {rows} where {names[0]} is null"
    listed = ", ".join(names)
    present = " and ".join(f"{name} is not null" for name in names)
    query = f"select {listed} from {rows}"
    if change.kind != "table" and _has(cursor, change, rule.columns):
        query += f" union all select {listed} from {change.relation.render()} as t"
        if change.keys:
            same = " and ".join(f"t.{quote(key)} = n.{quote(key)}" for key in change.keys)
            query += f" where not exists (select 1 from {rows} as n where {same})"
    return f"select unnest(range(count(*))) from ({query}) where {present} group by {listed} having count(*) > 1"


def _has(cursor: duckdb.DuckDBPyConnection, change: Change, names: Sequence[str]) -> bool:
    from warehouse.build.materialize.tables import describe

    known = {each.name.lower() for each in describe(cursor, f"select * from {change.relation.render()}")}
    return all(name.lower() in known for name in names)


def _count(cursor: duckdb.DuckDBPyConnection, step: Step, rule: Rule, violations: str) -> int:
    import duckdb

    try:
        row = cursor.execute(f"select count(*) from ({violations})").fetchone()
    except duckdb.Error as error:
        message = str(error).split("\n")[0]
        raise ContractError(f"{step.name}: {rule.title}: {message}", where=rule.where) from error
    return int(row[0]) if row else 0


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows under each other, for a message."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n  ".join(lines)
