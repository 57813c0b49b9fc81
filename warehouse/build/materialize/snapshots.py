"""Snapshots: the history of a query's rows, one row for each version, with the times from and to which it is valid.

A build compares the query with the versions that hold now, told apart by ``unique_key``: a row that changed closes its
version and opens another one. What is deleted in the source is left alone, closed (``invalidate``), or closed and
followed by a version that says so (``new_record``). Nothing is ever taken out of the table; a column that the query no
longer has is NULL in new versions, a new one is added. The columns, and the digests in dbt_scd_id, are dbt's.

A changed query, other settings and ``--full-refresh`` only add versions. Readers take each build of a snapshot for
other data, even where its source is back to what it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from udfs.errors import ProjectError, did_you_mean
from warehouse.build.materialize.tables import Change, TableColumn, copy, describe, lake_columns
from warehouse.graph.parsing import located
from warehouse.graph.step import Step
from warehouse.lake.connection import duckdb_error
from warehouse.lake.parquet import rows_of
from warehouse.lake.quoting import quote
from warehouse.project.relation import Relation
from warehouse.project.snapshot_settings import Settings, place, settings

if TYPE_CHECKING:
    import duckdb

    from warehouse.lake.commit import Staging

_SOURCE, _OPEN = "_snapshot_source", "_snapshot_open"  # temporary tables: the query's rows, the versions that hold
_AT = "_snapshot_at"


def snapshot(
    cursor: duckdb.DuckDBPyConnection, staging: Staging, step: Step, relation: Relation, present: str | None
) -> Change:
    """Compute new and closed versions, all of the first ones if ``present`` is None (else what the relation is now).

    Raises ProjectError if the present table is not a snapshot or keys are not unique, SqlError for the query.
    """
    if present not in (None, "table"):
        raise _mistake(step, f"{relation.key} is a {present}", "drop it, or give the snapshot another alias or schema")
    try:
        kept = settings(step.node)
        made = _Made(cursor, step, kept, relation)
        try:
            path = staging.file(f"{relation.schema}.{relation.identifier}")
            if present is None:
                columns, query = lake_columns(cursor, made.first())
                rows = copy(cursor, query, path)
                return Change(relation, "table", columns, (path,), rows=rows)
            columns, alter = made.columns()
            rows = copy(cursor, made.versions(columns), path)
            closed = staging.folder / f"{path.stem}.closed.parquet"
            remove = ""
            if copy(cursor, made.closed(), closed):
                remove = made.gone(str(closed))
        finally:
            for table in (_SOURCE, _OPEN):
                cursor.execute(f"drop table if exists temp.{table}")
    except duckdb_error() as error:
        raise located(step, error) from error
    return Change(relation, "snapshot", columns, (path,), rows=rows, alter=alter, remove=remove)


@dataclass(frozen=True, slots=True)
class _Row:
    """The source of one kind of versions: a FROM clause, and the expressions of columns by name."""

    origin: str
    values: Mapping[str, str]


class _Made:
    """The queries of one snapshot. The model's own query runs once, into a temporary table."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, step: Step, kept: Settings, relation: Relation) -> None:
        self.cursor, self.step, self.kept, self.relation = cursor, step, kept, relation
        now = cursor.execute("select cast(now()::timestamp as varchar)").fetchall()[0][0]
        self.now = f"timestamp '{now}'"
        self.given, query = lake_columns(cursor, step.sql)
        self._check_columns()
        self._check_expressions(query)
        at = kept.updated_at or self.now
        cursor.execute(
            f"create or replace temp table {_SOURCE} as"
            f" select *, {self._keys()}, {at} as {_AT} from ({query}\n) as snapshot_query"
        )
        self._check_keys()
        keys = " and ".join(f"o._key_{i} = s._key_{i}" for i in range(len(kept.keys)))
        self._joined = f"temp.{_OPEN} as o {{}} join temp.{_SOURCE} as s on {keys}"

    def _keys(self) -> str:
        return ", ".join(f"{key} as _key_{i}" for i, key in enumerate(self.kept.keys))

    def _name(self, name: str) -> str:
        return quote(self.kept.names[name])

    def first(self) -> str:
        """Return all rows of the query as versions that are valid now."""
        own = self._opened("s")
        names = [f"s.{quote(each.name)}" for each in self.given]
        names += [f"{own[name]} as {quote(name)}" for name in self.kept.own]
        return f"select {', '.join(names)} from temp.{_SOURCE} as s"

    def _opened(self, row: str) -> dict[str, str]:
        """Return the snapshot's own columns of a version that begins at the time of its row."""
        at, names = f"{row}.{_AT}", self.kept.names
        values = {
            names["dbt_scd_id"]: _digest([*(f"{row}._key_{i}" for i in range(len(self.kept.keys))), at]),
            names["dbt_updated_at"]: at,
            names["dbt_valid_from"]: at,
            # The type is the common one of the time and of the value for "now", though the value is the latter.
            names["dbt_valid_to"]: f"coalesce(nullif({at}, {at}), {self.kept.current or 'null'})",
            names["dbt_is_deleted"]: "'False'",
        }
        return {name: values[name] for name in self.kept.own}

    def columns(self) -> tuple[tuple[TableColumn, ...], tuple[str, ...]]:
        """Return the table's columns with the query's new ones, and the statements that make them.

        Reads the versions that are valid now. Raises ProjectError if the table is not a snapshot.
        """
        have = describe(self.cursor, f"select * from {self.relation.render()}")
        known = {each.name.lower() for each in have}
        missing = [name for name in self.kept.own if name.lower() not in known]
        if missing:
            hint = "it was not made by a snapshot with these settings: add the column, or choose another alias"
            raise _mistake(self.step, f"{self.relation.key} has no column {', '.join(missing)}", hint)
        added = [each for each in self.given if each.name.lower() not in known]
        self._have = {each.name.lower() for each in have}
        self.cursor.execute(
            f"create or replace temp table {_OPEN} as select *, {self._keys()} from {self.relation.render()} as t"
            f" where {self._holds('t')}"
        )
        return (*have, *added), tuple(f"add column {quote(each.name)} {each.type}" for each in added)

    def versions(self, columns: Sequence[TableColumn]) -> str:
        """Return the rows that replace closed versions, and the new ones."""
        old = {each.name.lower(): f"o.{quote(each.name)}" for each in columns if each.name.lower() in self._have}
        new = {each.name.lower(): f"s.{quote(each.name)}" for each in self.given}
        valid_to = self.kept.names["dbt_valid_to"].lower()
        changed = self._changed()
        rows = [
            _Row(f"{self._joined.format('')} where {changed}", old | {valid_to: f"s.{_AT}"}),
            _Row(
                f"{self._joined.format('right')} where o._key_0 is null or {changed}", new | _lower(self._opened("s"))
            ),
        ]
        if self.kept.hard_deletes != "ignore":
            rows.append(_Row(self._deleted(), old | {valid_to: self.now}))
        if self.kept.hard_deletes == "new_record":
            told = {
                self.kept.names["dbt_scd_id"]: _digest([f"o.{self._name('dbt_scd_id')}", self.now]),
                self.kept.names["dbt_updated_at"]: self.now,
                self.kept.names["dbt_valid_from"]: self.now,
                self.kept.names["dbt_valid_to"]: f"o.{self._name('dbt_valid_to')}",
                self.kept.names["dbt_is_deleted"]: "'True'",
            }
            last = {name: value for name, value in old.items() if name in new}
            rows.append(_Row(self._deleted(), last | _lower(told)))
        return "\nunion all\n".join(_select(row, columns) for row in rows)

    def closed(self) -> str:
        """Return the dbt_scd_id of the versions that close."""
        scd_id = f"o.{self._name('dbt_scd_id')} as scd_id"
        query = f"select {scd_id} from {self._joined.format('')} where {self._changed()}"
        if self.kept.hard_deletes != "ignore":
            query += f" union all select {scd_id} from {self._deleted()}"
        return query

    def gone(self, closed: str) -> str:
        """Return the condition of versions ``t`` that closed ones replace. Older ones may have the same dbt_scd_id."""
        return (
            f"{self._holds('t')} and exists"
            f" (select 1 from {rows_of(closed)} as n where n.scd_id = t.{self._name('dbt_scd_id')})"
        )

    def _holds(self, table: str) -> str:
        valid_to = f"{table}.{self._name('dbt_valid_to')}"
        return (
            f"({valid_to} is null or {valid_to} = {self.kept.current})" if self.kept.current else f"{valid_to} is null"
        )

    def _changed(self) -> str:
        """Return the condition that the row ``s`` of the query is another version than ``o``."""
        if self.kept.strategy == "timestamp":
            changed = f"o.{self._name('dbt_valid_from')} < s.{_AT}"
        else:
            names = self.kept.check or [each.name for each in self.given]
            if any(name.lower() not in self._have for name in names):
                changed = "true"  # as in dbt, a new column makes a new version of every row
            else:
                changed = " or ".join(f"o.{quote(name)} is distinct from s.{quote(name)}" for name in names)
        if self.kept.hard_deletes == "new_record":
            changed += f" or o.{self._name('dbt_is_deleted')} = 'True'"
        return f"({changed})"

    def _deleted(self) -> str:
        told = f" and not (o.{self._name('dbt_is_deleted')} = 'True')"
        return f"{self._joined.format('left')} where s._key_0 is null" + (
            told if self.kept.hard_deletes == "new_record" else ""
        )

    def _check_columns(self) -> None:
        names = {each.name.lower() for each in self.given}
        for name in self.kept.check or ():
            if name.lower() not in names:
                raise _mistake(self.step, f"no column {name} for check_cols", did_you_mean(name.lower(), names))
        for name in self.kept.own:
            if name.lower() in names:
                hint = "rename it, or the other one with snapshot_meta_column_names"
                raise _mistake(self.step, f"the query has a column {name}, which is the snapshot's own", hint)

    def _check_expressions(self, query: str) -> None:
        kept = self.kept
        given = [*(("unique_key", key) for key in kept.keys), ("updated_at", kept.updated_at)]
        for setting, expression in (*given, ("dbt_valid_to_current", kept.current)):
            try:
                if expression is not None:
                    describe(self.cursor, f"select {expression} from ({query}\n) as snapshot_query")
            except duckdb_error() as error:
                said = str(error).split("\n\n")[0].split("\n")
                hint = "\n  ".join(said[1:]) or None
                raise _mistake(self.step, f"{setting} is {expression}: {said[0]}", hint) from error

    def _check_keys(self) -> None:
        keys = [f"_key_{i}" for i in range(len(self.kept.keys))]
        present = " and ".join(f"{key} is not null" for key in keys)
        twice = self.cursor.execute(
            f"select {', '.join(keys)} from temp.{_SOURCE} where {present} group by all having count(*) > 1 limit 1"
        ).fetchone()
        if twice:
            hint = "a version belongs to one row: choose one, or name more columns in unique_key"
            raise _mistake(self.step, f"several rows have the unique_key {', '.join(map(str, twice))}", hint)


def _select(row: _Row, columns: Sequence[TableColumn]) -> str:
    values = (
        f"cast({row.values.get(each.name.lower(), 'null')} as {each.type}) as {quote(each.name)}" for each in columns
    )
    return f"select {', '.join(values)} from {row.origin}"


def _lower(values: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in values.items()}


def _digest(values: Sequence[str]) -> str:
    """Return dbt's digest of several values, which names a version."""
    parts = " || '|' || ".join(f"coalesce(cast({value} as varchar), '')" for value in values)
    return f"md5({parts})"


def _mistake(step: Step, message: str, hint: str | None) -> ProjectError:
    return ProjectError(f"snapshot {step.name}: {message}", where=place(step.node), hint=hint)
