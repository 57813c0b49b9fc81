"""Contracts: check the columns and rows of a model before another node reads it.

    config: {contract: {enforced: true}}
    columns: [{name: id, data_type: integer, constraints: [{type: not_null}]}]

Names and types are compared with the query's before it runs. ``not_null``, ``check``, ``unique`` and ``primary_key``
are checked on the computed rows before they are committed; views have no rows of their own, so their constraints
do not hold, as in dbt. ``foreign_key`` and ``custom`` constraints are not enforced, and the build says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from udfs.errors import Location, ProjectError
from warehouse.build.materialize.tables import Change, Make, describe, lake_columns
from warehouse.graph.parsing import located
from warehouse.lake.connection import duckdb_error
from warehouse.lake.parquet import rows_of
from warehouse.lake.quoting import quote
from warehouse.project.contract import Contract, Rule, contract
from warehouse.project.package import REPLACEABLE

if TYPE_CHECKING:
    import duckdb

    from warehouse.graph.step import Step
    from warehouse.lake.commit import Staging
    from warehouse.project.relation import Relation


def kept(
    make: Make, promised: Contract, cursor: duckdb.DuckDBPyConnection, staging: Staging, step: Step, relation: Relation
) -> Change:
    """Make the change of a model, with its contract checked: its columns first, then its rows. A view has no rows.

    Raises ProjectError, and what ``make`` raises.
    """
    agreeing = agreed(cursor, step, promised)
    if step.kind == "view":
        return make(cursor, staging, step, relation)
    change = make(cursor, staging, agreeing, relation)
    enforce(cursor, step, promised, change)
    return change


def agreed(cursor: duckdb.DuckDBPyConnection, step: Step, promised: Contract) -> Step:
    """Return the step with its columns in the contract's order. Raises ProjectError if they are not the contract's.

    A type counts as kept if the query has it, or if the lake's table will: a sum of integers is a HUGEINT in the
    query and a BIGINT in the table.
    """
    try:
        found = {each.name: each.type for each in describe(cursor, step.sql)}
        held = {each.name: each.type for each in lake_columns(cursor, step.sql)[0]}
    except duckdb_error() as error:
        raise located(step, error) from error
    casts = ", ".join(f"cast(null as {kind}) as {quote(name)}" for name, kind in promised.columns)
    try:
        wanted = {each.name: each.type for each in describe(cursor, f"select {casts}")}
    except duckdb_error() as error:
        first_line = str(error).split("\n")[0]
        message = f"{step.name}: its contract has a type that is not valid: {first_line}"
        raise ProjectError(message, where=promised.where) from error
    rows = [
        (name, found.get(name, "–"), wanted.get(name, "–"))
        for name in dict.fromkeys([*wanted, *found])
        if wanted.get(name) not in (found.get(name), held.get(name)) or name not in wanted
    ]
    if rows:
        hint = _table([("column", "in the query", "in the contract"), *rows])
        message = f"{step.name}: the query's columns are not those of its contract"
        raise ProjectError(message, where=promised.where, hint=hint)
    names = ", ".join(quote(name) for name, _ in promised.columns)
    return replace(step, sql=f"select {names} from ({step.sql}\n)")


def replacing(
    make: Make, cursor: duckdb.DuckDBPyConnection, staging: Staging, step: Step, relation: Relation
) -> Change:
    """Make the change of a model that replaces one of Cuvée's. Raises ProjectError for a missing column."""
    try:
        found = {each.name.lower() for each in describe(cursor, step.sql)}
    except duckdb_error() as error:
        raise located(step, error) from error
    wanted = REPLACEABLE[step.name]
    if missing := [name for name in wanted if name not in found]:
        message = f"{step.name} has no column {', '.join(missing)}"
        hint = f"it takes the place of Cuvée's model, of which others read {', '.join(wanted)}"
        raise ProjectError(message, where=Location(step.node.path), hint=hint)
    return make(cursor, staging, step, relation)


def check_columns(cursor: duckdb.DuckDBPyConnection, step: Step) -> None:
    """Check that a step's columns are those of its contract, if it has one. Raises ProjectError."""
    if promised := contract(step.node):
        agreed(cursor, step, promised)


def enforce(cursor: duckdb.DuckDBPyConnection, step: Step, promised: Contract, change: Change) -> None:
    """Check the constraints on the rows of a change. Raises ProjectError with the number of rows that break each.

    Whether they are unique is asked of the table as it will be.
    """
    counts = [(rule, _count(cursor, step, rule, _violations(cursor, rule, change))) for rule in promised.rules]
    broken = [(rule.title, f"{count:,}") for rule, count in counts if count]
    if broken:
        first = next(rule.where for rule in promised.rules if rule.title == broken[0][0])
        hint = _table([("constraint", "rows"), *broken])
        raise ProjectError(f"{step.name}: rows break its contract; nothing is written", where=first, hint=hint)


def _violations(cursor: duckdb.DuckDBPyConnection, rule: Rule, change: Change) -> str:
    rows = rows_of(*change.files)
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
    known = {each.name.lower() for each in describe(cursor, f"select * from {change.relation.render()}")}
    return all(name.lower() in known for name in names)


def _count(cursor: duckdb.DuckDBPyConnection, step: Step, rule: Rule, violations: str) -> int:
    try:
        row = cursor.execute(f"select count(*) from ({violations})").fetchone()
    except duckdb_error() as error:
        message = str(error).split("\n")[0]
        raise ProjectError(f"{step.name}: {rule.title}: {message}", where=rule.where) from error
    return int(row[0]) if row else 0


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    """Write rows under each other, for a message."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return "\n  ".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
