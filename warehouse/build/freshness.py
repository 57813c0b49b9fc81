"""Compare the age of a source's rows with what its ``freshness:`` allows.

    freshness: {warn_after: {count: 12, period: hour}, error_after: {count: 2, period: day}, filter: …}
    loaded_at_field: loaded_at        # or loaded_at_query: a query for one time

Without either, the time is that of the last commit that added rows to the table or took some away, from the lake's
catalog: compaction does not count. Times without a zone are UTC. A source that was never loaded is infinitely old.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from udfs.errors import CuveeError, Location, ProjectError, did_you_mean
from warehouse.build.node_selection import selected_nodes
from warehouse.lake.connection import duckdb_error
from warehouse.project.options import EVERYTHING, Selection
from warehouse.project.project import Node
from warehouse.project.relation import Relation

if TYPE_CHECKING:
    import duckdb

    from warehouse.graph.loaded_project import LoadedProject

_PERIODS = {"minute": 60, "hour": 3600, "day": 86400}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Limit:
    """An age."""

    count: int
    period: str  # minute | hour | day

    @property
    def seconds(self) -> float:
        return self.count * _PERIODS[self.period]

    def __str__(self) -> str:
        return f"{self.count} {self.period}{'' if self.count == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class Freshness:
    """The freshness of one source. ``age`` is in seconds, None if it was never loaded."""

    source: str
    relation: str
    status: str  # pass | warn | error | runtime error
    loaded_at: datetime | None
    age: float | None
    warn_after: Limit | None
    error_after: Limit | None
    message: str = ""

    @property
    def failed(self) -> bool:
        return self.status in ("error", "runtime error")


def check(opened: LoadedProject, selection: Selection = EVERYTHING) -> list[Freshness]:
    """Return the freshness of every selected source that has ``freshness:``.

    Raises ProjectError for settings that cannot be; a source that cannot be read is among the results.
    """
    graph = opened.graph
    keys = selected_nodes(opened, selection)
    nodes = [graph.steps[key].node for key in graph.order() if key in keys and graph.steps[key].kind == "source"]
    limits = [(node, *_limits(opened, node)) for node in nodes if opened.renderer.enabled(node)]
    cursor = opened.lake.cursor()
    try:
        return [_check(opened, cursor, node, warn, error) for node, warn, error in limits if warn or error]
    finally:
        cursor.close()


def _check(
    opened: LoadedProject, cursor: duckdb.DuckDBPyConnection, node: Node, warn: Limit | None, error: Limit | None
) -> Freshness:
    relation = opened.renderer.relation(node)
    name = f"{node.source_name}.{node.name}"
    try:
        loaded = _loaded_at(opened, cursor, node, relation)
    except CuveeError as problem:
        return Freshness(name, relation.key, "runtime error", None, None, warn, error, str(problem))
    age = (datetime.now(UTC) - loaded).total_seconds() if loaded else None
    status = "pass"
    for word, limit in (("warn", warn), ("error", error)):
        if limit and (age is None or age > limit.seconds):
            status = word
    return Freshness(name, relation.key, status, loaded, age, warn, error)


def _limits(opened: LoadedProject, node: Node) -> tuple[Limit | None, Limit | None]:
    where = _where(node)
    config = opened.renderer.value(node.config.get("freshness"), where)
    if not isinstance(config, Mapping):
        return None, None
    return _limit(node, config, "warn_after"), _limit(node, config, "error_after")


def _limit(node: Node, config: Mapping[str, Any], name: str) -> Limit | None:
    given = config.get(name)
    if not given:
        return None
    example = f"{name}: {{count: 12, period: hour}}"
    period = str(given.get("period")) if isinstance(given, Mapping) else ""
    if not isinstance(given, Mapping) or not isinstance(given.get("count"), int) or period not in _PERIODS:
        hint = did_you_mean(period, _PERIODS) if period not in ("", "None") and period not in _PERIODS else example
        raise ProjectError(
            f"source {node.source_name}.{node.name}: {name} needs a count and a period", where=_where(node), hint=hint
        )
    return Limit(given["count"], period)


def _loaded_at(
    opened: LoadedProject, cursor: duckdb.DuckDBPyConnection, node: Node, relation: Relation
) -> datetime | None:
    field, query = (
        opened.renderer.value(node.config.get(name), _where(node), {"this": relation})
        for name in ("loaded_at_field", "loaded_at_query")
    )
    condition = (opened.renderer.value(node.config["freshness"], _where(node), {"this": relation})).get("filter")
    if not field and not query:
        return _last_commit(cursor, node, relation)
    if field:
        limited = f" where {condition}" if condition else ""
        query = f"select max({field}) from {relation.render()}{limited}"
    try:
        row = cursor.execute(f"select loaded_at, typeof(loaded_at) from ({query}\n) as found(loaded_at)").fetchone()
    except duckdb_error() as error:
        said = str(error).split("\n\n")[0].split("\nLINE")[0]
        raise ProjectError(said, where=_where(node)) from error
    if row is None or row[0] is None:
        return None
    at = datetime.combine(row[0], time()) if type(row[0]) is date else row[0]
    if not isinstance(at, datetime):
        raise ProjectError(
            f"{field or 'loaded_at_query'} is {row[1]}, not a time",
            where=_where(node),
            hint=f"for example: loaded_at_field: {field or 'loaded_at'}::timestamp",
        )
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _last_commit(cursor: duckdb.DuckDBPyConnection, node: Node, relation: Relation) -> datetime | None:
    """Return when rows last came into a table or left it.

    A commit whose snapshot has expired is known by the files that it left; it was at the latest at the time of the
    next snapshot that is still there.
    """
    tables = cursor.execute(
        "select t.table_id from __ducklake_metadata_lake.ducklake_table as t"
        " join __ducklake_metadata_lake.ducklake_schema as s on s.schema_id = t.schema_id and s.end_snapshot is null"
        " where t.end_snapshot is null and lower(s.schema_name || '.' || t.table_name) = ?",
        [relation.key],
    ).fetchone()
    if tables is None:
        raise ProjectError(
            f"{relation.key} is not a table of the lake",
            where=_where(node),
            hint="of a view, loaded_at_field has to name the column that says when a row came",
        )
    row = cursor.execute(
        """
        with changes as (
            select snapshot_id
            from __ducklake_metadata_lake.ducklake_snapshot_changes
            where regexp_matches(changes_made, '(inserted_into|deleted_from)_table:' || $table || '(,|$)')
            union all
            select begin_snapshot from (
                from __ducklake_metadata_lake.ducklake_data_file select begin_snapshot, table_id
                union all
                from __ducklake_metadata_lake.ducklake_delete_file select begin_snapshot, table_id
            ) as files
            where table_id = $table
              and begin_snapshot not in (select snapshot_id from __ducklake_metadata_lake.ducklake_snapshot)
        )
        select epoch_us(min(snapshot_time)) from lake.snapshots()
        where snapshot_id >= (select max(snapshot_id) from changes)
        """,
        {"table": tables[0]},
    ).fetchone()
    return _EPOCH + timedelta(microseconds=int(row[0])) if row and row[0] is not None else None


def _where(node: Node) -> Location:
    return node.described_at or node.where
