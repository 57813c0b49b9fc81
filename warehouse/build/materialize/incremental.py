"""Incremental models: add the rows of a query to the table that is there.

    append          all rows are added
    delete+insert   rows with a ``unique_key`` that the new rows have are replaced
    merge           likewise, but a row that was there keeps the columns that ``merge_update_columns`` does not name, or
                    that ``merge_exclude_columns`` does

    microbatch      rows of some batches of time are replaced (see there)

A ``unique_key`` that is NULL equals nothing, as in SQL's MERGE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from udfs.errors import ProjectError, did_you_mean
from warehouse.build.materialize.tables import Change, TableColumn, copy, describe, lake_columns
from warehouse.graph.parsing import located
from warehouse.graph.step import Step
from warehouse.lake.connection import duckdb_error
from warehouse.lake.quoting import quote
from warehouse.project.relation import Relation

if TYPE_CHECKING:
    import duckdb

    from warehouse.lake.commit import Staging

_KEYED = ("delete+insert", "merge")
_STRATEGIES = ("append", *_KEYED, "microbatch")
_POLICIES = ("ignore", "fail", "append_new_columns", "sync_all_columns")


def incremental(
    cursor: duckdb.DuckDBPyConnection,
    staging: Staging,
    step: Step,
    relation: Relation,
    have: Sequence[TableColumn] | None = None,
) -> Change:
    """Compute the rows that are added to a table that is there already. Raises ProjectError, SqlError.

    ``have`` are the columns of a table that is still to come. Of a microbatch, its rows are added.
    """
    config = step.node.config
    keys = _names(config.get("unique_key"))
    strategy = _choice(step, "incremental_strategy", _STRATEGIES, "delete+insert" if keys else "append")
    if strategy in _KEYED and not keys:
        raise _mistake(step, f"{strategy} needs a unique_key")
    try:
        have = have or describe(cursor, f"select * from {relation.render()}")
        new, _ = lake_columns(cursor, step.sql)
        columns, alter = _columns(step, relation, have, new)
        if strategy in _KEYED:
            _check(step, "unique_key", keys, columns)
        given = {each.name.lower() for each in new}
        missing = [each for each in columns if each.name.lower() not in given]
        query = step.sql
        if missing:
            nulls = ", ".join(f"cast(null as {each.type}) as {quote(each.name)}" for each in missing)
            query = f"select *, {nulls} from ({query}\n)"
        if strategy == "merge":
            kept = {each.name.lower() for each in have} - (given - _left_alone(step, columns, given))
            unchanged = kept - {key.lower() for key in keys}
            query = _merged(cursor, replace(step, sql=query, relation=relation), keys, unchanged, columns)
        names = ", ".join(f"cast({quote(each.name)} as {each.type}) as {quote(each.name)}" for each in columns)
        path = staging.file(f"{relation.schema}.{relation.identifier}")
        rows = copy(cursor, f"select {names} from ({query}\n)", path, columns)
    except duckdb_error() as error:
        raise located(step, error) from error
    keys = keys if strategy in _KEYED else ()
    return Change(relation, strategy, tuple(columns), (path,), keys=keys, rows=rows, alter=alter)


def _columns(
    step: Step, relation: Relation, have: Sequence[TableColumn], new: Sequence[TableColumn]
) -> tuple[list[TableColumn], tuple[str, ...]]:
    """Return the table's columns after ``on_schema_change``, and the statements that make them."""
    policy = _choice(step, "on_schema_change", _POLICIES, "ignore")
    hint = "build it with --full-refresh, or set on_schema_change"
    known, given = {each.name.lower() for each in have}, {each.name.lower() for each in new}
    missing = [each for each in have if each.name.lower() not in given]
    extra = [each for each in new if each.name.lower() not in known]
    if policy == "fail" and (missing or extra):
        what = "; ".join(
            f"{word} {', '.join(each.name for each in found)}"
            for word, found in (("gone:", missing), ("new:", extra))
            if found
        )
        raise _mistake(step, f"its columns are not those of {relation.key} ({what})", hint)
    if missing and policy == "ignore":
        raise _mistake(step, f"the query has no column {missing[0].name}, which {relation.key} has", hint)
    added = [] if policy == "ignore" else extra
    dropped = missing if policy == "sync_all_columns" else []
    alter = [f"drop column {quote(each.name)}" for each in dropped]
    alter += [f"add column {quote(each.name)} {each.type}" for each in added]
    return [*(each for each in have if each not in dropped), *added], tuple(alter)


def _left_alone(step: Step, columns: Sequence[TableColumn], given: set[str]) -> set[str]:
    config = step.node.config
    update, exclude = _names(config.get("merge_update_columns")), _names(config.get("merge_exclude_columns"))
    if update and exclude:
        raise _mistake(step, "merge_update_columns and merge_exclude_columns exclude each other")
    _check(step, "merge_update_columns", update, columns)
    _check(step, "merge_exclude_columns", exclude, columns)
    return given - {name.lower() for name in update} if update else {name.lower() for name in exclude}


def _merged(
    cursor: duckdb.DuckDBPyConnection, step: Step, keys: Sequence[str], kept: set[str], columns: Sequence[TableColumn]
) -> str:
    """Return a query for the rows of a step, with the columns ``kept`` taken from the rows that are there."""
    query, relation = step.sql, step.relation
    assert relation is not None
    key = ", ".join(map(quote, keys))
    present = " and ".join(f"{quote(name)} is not null" for name in keys)
    twice = cursor.execute(
        f"select {key} from ({query}\n) where {present} group by all having count(*) > 1 limit 1"
    ).fetchone()
    if twice:
        hint = "a merge updates a row once: choose one, for example with qualify row_number() over (…) = 1"
        raise _mistake(step, f"several new rows have the unique_key {', '.join(map(str, twice))}", hint)
    values = []
    for name in (quote(each.name) for each in columns):
        stays = name.strip('"').lower() in kept
        values.append(f"case when t.found then t.{name} else n.{name} end as {name}" if stays else f"n.{name}")
    matching = " and ".join(f"t.{quote(name)} = n.{quote(name)}" for name in keys)
    return (
        f"select {', '.join(values)} from ({query}\n) as n"
        f" left join (select *, true as found from {relation.render()}) as t on {matching}"
    )


def _names(value: Any) -> tuple[str, ...]:
    """Return the names of a setting that is one name or a list of them."""
    return (value,) if isinstance(value, str) else tuple(map(str, value or ()))


def _choice(step: Step, setting: str, known: Sequence[str], default: str) -> str:
    value = str(step.node.config.get(setting) or default)
    if value not in known:
        raise _mistake(step, f"{setting} is {value!r}", did_you_mean(value, known))
    return value


def _check(step: Step, setting: str, names: Sequence[str], columns: Sequence[TableColumn]) -> None:
    known = {each.name.lower() for each in columns}
    for name in names:
        if name.lower() not in known:
            raise _mistake(step, f"no column {name} for {setting}", did_you_mean(name.lower(), known))


def _mistake(step: Step, message: str, hint: str | None = None) -> ProjectError:
    return ProjectError(f"{step.name}: {message}", where=step.node.where, hint=hint)
