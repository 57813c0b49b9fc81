"""Compare the rows that a model's query returns now with those of its relation: added, removed and changed.

Rows are told apart by a key; without one, a changed row is one removed and one added. Nothing is written to the lake.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from udfs.errors import CuveeError, Location, UsageError, did_you_mean
from warehouse.build.materialize.tables import TableColumn, describe, lake_columns
from warehouse.graph.parsing import located
from warehouse.graph.step import Step
from warehouse.lake.connection import duckdb_error
from warehouse.lake.quoting import quote
from warehouse.project.properties import listed

if TYPE_CHECKING:
    import duckdb

    from warehouse.graph.loaded_project import LoadedProject

_HERE = quote("cuvee:here")
_NOW, _BEFORE = "temp.main.cuvee_now", "temp.main.cuvee_before"


@dataclass(frozen=True, slots=True)
class Difference:
    """Numbers of rows; ``changed`` is None without a key. Examples are rows by column name."""

    model: str
    relation: str
    key: tuple[str, ...]
    before: int
    now: int
    added: int
    removed: int
    changed: int | None
    columns: dict[str, int] = field(default_factory=dict)  # column → rows in which it changed
    columns_added: tuple[str, ...] = ()
    columns_removed: tuple[str, ...] = ()
    types: dict[str, tuple[str, str]] = field(default_factory=dict)  # column → its type before and now
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Return whether a build would change nothing."""
        return not (
            self.added or self.removed or self.changed or self.columns_added or self.columns_removed or self.types
        )


def key_of(opened: LoadedProject, step: Step) -> tuple[str, ...]:
    """Return the key columns of a model: its ``unique_key``, else those of a ``unique`` test, else none."""
    if step.node.config.get("unique_key"):
        return tuple(str(each) for each in listed(step.node.config["unique_key"]))
    for child in opened.graph.children[step.id]:
        node = opened.graph.steps[child].node
        if node.test and node.attached == step.id and node.test.name == "unique" and node.test.column:
            return (node.test.column.strip('"'),)
    return ()


def difference(opened: LoadedProject, step: Step, key: Sequence[str] = (), examples: int = 5) -> Difference:
    """Compare the query of ``step`` with its relation in the lake; ``key`` is ``key_of`` unless given.

    Raises CuveeError if it is not built or if the key is not unique, SqlError if the query fails, UsageError for a key
    that is not a column.
    """
    relation = step.relation
    if relation is None or relation.is_cte or relation.key not in opened.database.relations:
        raise CuveeError(
            f"{step.name} is not in the lake", where=Location(step.node.path), hint=f"cuvee build --select {step.name}"
        )
    cursor = opened.lake.cursor()
    try:
        try:
            columns, query = lake_columns(cursor, step.sql)
            cursor.execute(f"create or replace temp table cuvee_now as select *, true as {_HERE} from ({query}\n)")
        except duckdb_error() as error:
            raise located(step, error) from error
        cursor.execute(f"create or replace temp table cuvee_before as select *, true as {_HERE} from {relation}")
        return _compare(cursor, step, columns, tuple(key) or key_of(opened, step), examples)
    finally:
        for table in (_NOW, _BEFORE):
            cursor.execute(f"drop table if exists {table}")
        cursor.close()


def _compare(
    cursor: duckdb.DuckDBPyConnection, step: Step, new: Sequence[TableColumn], key: tuple[str, ...], examples: int
) -> Difference:
    assert step.relation is not None
    relation, old = step.relation.key, describe(cursor, f"select * from {step.relation}")
    now = {column.name.lower(): column for column in new}
    before = {column.name.lower(): column for column in old}
    common = [name for name in now if name in before]
    for each in key:
        if each.lower() not in common:
            raise UsageError(f"{each!r} is not a column of {step.name} then and now", hint=did_you_mean(each, common))
    key = tuple(now[each.lower()].name for each in key)
    counts = {table: _one(cursor, f"select count(*) from {table}")[0] for table in (_NOW, _BEFORE)}
    shape: dict[str, Any] = {
        "model": step.name,
        "relation": relation,
        "key": key,
        "before": counts[_BEFORE],
        "now": counts[_NOW],
        "columns_added": tuple(now[name].name for name in now if name not in before),
        "columns_removed": tuple(before[name].name for name in before if name not in now),
        "types": {
            now[name].name: (before[name].type, now[name].type)
            for name in common
            if before[name].type != now[name].type
        },
    }
    # Columns whose type changed are compared as text: a cast to either type might fail.
    names = {now[name].name: before[name].type != now[name].type for name in common}
    if not key:
        return _by_whole_rows(cursor, names, shape, examples)
    keys = ", ".join(map(quote, key))
    for table, when in ((_NOW, "the query gives"), (_BEFORE, f"{relation} holds")):
        twice = cursor.execute(f"select {keys} from {table} group by all having count(*) > 1 limit 1").fetchone()
        if twice:
            raise CuveeError(
                f"{when} more than one row with {', '.join(key)} = {', '.join(map(repr, twice))}",
                hint="name columns that tell its rows apart: --key",
            )
    return _by_key(cursor, key, names, shape, examples)


def _by_whole_rows(
    cursor: duckdb.DuckDBPyConnection, names: dict[str, bool], shape: dict[str, Any], examples: int
) -> Difference:
    columns = ", ".join(_compared("", name, text) + f" as {quote(name)}" for name, text in names.items())
    found: dict[str, Any] = {"examples": {}}
    for title, first, second in (("added", _NOW, _BEFORE), ("removed", _BEFORE, _NOW)):
        query = f"select {columns} from {first} except all select {columns} from {second}"
        found[title] = _one(cursor, f"select count(*) from ({query})")[0]
        found["examples"][title] = _rows(cursor, f"select * from ({query}) order by all limit {examples}")
    return Difference(**shape, changed=None, **found)


def _by_key(
    cursor: duckdb.DuckDBPyConnection,
    key: tuple[str, ...],
    names: dict[str, bool],
    shape: dict[str, Any],
    examples: int,
) -> Difference:
    matching = " and ".join(f"n.{quote(each)} is not distinct from b.{quote(each)}" for each in key)
    joined = f"from {_NOW} as n full join {_BEFORE} as b on {matching}"
    values = [name for name in names if name not in key]
    changes = {
        name: f"({_compared('n.', name, names[name])} is distinct from {_compared('b.', name, names[name])})"
        for name in values
    }
    both = f"n.{_HERE} and b.{_HERE}"
    changed = f"{both} and ({' or '.join(changes.values()) or 'false'})"
    counted = [f"count(*) filter (b.{_HERE} is null)", f"count(*) filter (n.{_HERE} is null)"]
    counted += [f"count(*) filter ({changed})", *(f"count(*) filter ({both} and {each})" for each in changes.values())]
    added, removed, differing, *by_column = _one(cursor, f"select {', '.join(counted)} {joined}")
    order = ", ".join(f"{side}.{quote(each)}" for each in key for side in ("n", "b"))
    shown = ", ".join(f"{{'before': b.{quote(name)}, 'now': n.{quote(name)}}} as {quote(name)}" for name in values)
    keys = ", ".join(f"n.{quote(each)}" for each in key)
    rows = _rows(cursor, f"select {', '.join(filter(None, (keys, shown)))} {joined} where {changed}"
                         f" order by {order} limit {examples}")  # fmt: skip
    for row in rows:  # of a changed row only what changed
        for name in values:
            if row[name]["before"] == row[name]["now"]:
                del row[name]
    here = ", ".join(f"{{side}}.{quote(name)}" for name in names)
    found = {
        "added": _rows(cursor, f"select {here.format(side='n')} {joined} where b.{_HERE} is null"
                               f" order by {order} limit {examples}"),
        "removed": _rows(cursor, f"select {here.format(side='b')} {joined} where n.{_HERE} is null"
                                 f" order by {order} limit {examples}"),
        "changed": rows,
    }  # fmt: skip
    columns = {name: count for name, count in zip(values, by_column, strict=True) if count}
    return Difference(**shape, added=added, removed=removed, changed=differing, columns=columns, examples=found)


def _compared(side: str, name: str, as_text: bool) -> str:
    column = f"{side}{quote(name)}"
    return f"cast({column} as varchar)" if as_text else column


def _one(cursor: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    return tuple(cursor.execute(sql).fetchall()[0])


def _rows(cursor: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    found = cursor.execute(sql)
    names = [each[0] for each in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
