"""Tests of a project: each is a query for the rows that break it.

With ``store_failures`` these rows are kept, as dbt does: in ``<target schema>_dbt_test__audit``, or in the schema that
the test's config names, under the name that dbt gives the test. Each run of the test replaces them, also by none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from udfs.errors import ProjectError, did_you_mean
from warehouse.build.materialize import tables
from warehouse.build.materialize.tables import Change
from warehouse.graph.parsing import located
from warehouse.graph.step import Step
from warehouse.lake.connection import duckdb_error
from warehouse.lake.parquet import rows_of
from warehouse.project.project import Node
from warehouse.project.properties import test_alias
from warehouse.project.relation import Relation

if TYPE_CHECKING:
    import duckdb

    from warehouse.graph.loaded_project import LoadedProject
    from warehouse.lake.commit import Staging

_KINDS = ("table", "view", "ephemeral")


class CheckError(ProjectError):
    """The settings of a data test are not valid."""


@dataclass(frozen=True, slots=True)
class TestResult:
    """The result of a test. ``query`` shows the rows that break it; ``message`` says it in words."""

    status: str  # pass | warn | fail
    failures: int
    query: str
    message: str = ""
    change: Change | None = None  # what keeps the rows that break it


def run(
    cursor: duckdb.DuckDBPyConnection, step: Step, staging: Staging | None = None, kept: Relation | None = None
) -> TestResult:
    """Run one test. ``kept`` is the table or the view for the rows that break it; a table is written to ``staging``.

    Raises SqlError if its query fails, CheckError if its settings make no sense.
    """
    config = step.node.config
    severity = str(config.get("severity", "error")).lower()
    if severity not in ("error", "warn"):
        raise CheckError(f"test {step.name}: severity is error or warn, not {severity!r}", where=step.node.where)
    error_if, warn_if = (_condition(cursor, step, str(config.get(name, "!= 0"))) for name in ("error_if", "warn_if"))
    limit = f" limit {int(config['limit'])}" if config.get("limit") else ""
    counted = str(config.get("fail_calc", "count(*)"))
    query = f"select * from ({step.sql}\n) as failing{limit}"
    change = None
    if kept is not None and staging is not None:
        make = tables.view if kept.type == "view" else tables.table
        change = make(cursor, staging, replace(step, sql=query), kept)
        if change.files:
            query = f"select * from {rows_of(change.files[0])}"
    counts = f"select coalesce({counted}, 0) as failures from ({query}) as failing"
    try:
        row = cursor.execute(f"select failures, failures {warn_if}, failures {error_if} from ({counts})").fetchone()
    except duckdb_error() as error:
        raise located(step, error) from error
    failures, warns, fails = row or (0, False, False)
    status = "fail" if fails and severity == "error" else "warn" if warns else "pass"
    message = ""
    if status != "pass":
        rows = "1 row" if failures == 1 else f"{int(failures):,} rows"
        seen = f"they are in {kept.key}" if change and kept else f"see them with:\n{step.sql}"
        message = f"{rows} break it; {seen}"
    return TestResult(status, int(failures), step.sql, message, change)


def _condition(cursor: duckdb.DuckDBPyConnection, step: Step, text: str) -> str:
    """Return the condition on the number of failures. Raises CheckError if it is not one."""
    try:
        row = cursor.execute(f"select 0 {text}").fetchone()
    except duckdb_error():
        row = None
    if row is None or len(row) != 1 or not isinstance(row[0], bool):
        raise CheckError(
            f"test {step.name}: {text!r} is not a valid condition", where=step.node.where, hint="for example: >10"
        )
    return text


def kept_failures(opened: LoadedProject, node: Node) -> Relation | None:
    """Return the relation of a test's failures; None if they are not kept. ``node`` has its final config.

    ``store_failures_as`` counts before ``store_failures``, and that before ``--store-failures``. Raises CheckError for
    a kind that there is not, and for a place that a node of the project has.
    """
    renderer = opened.renderer
    kind = node.config.get("store_failures_as")
    if kind is None:
        asked = node.config.get("store_failures")
        kind = "table" if (renderer.store_failures if asked is None else asked) else "ephemeral"
    if kind not in _KINDS:
        raise CheckError(
            f"test {node.name}: store_failures_as is {kind!r}", where=node.where, hint=did_you_mean(str(kind), _KINDS)
        )
    if kind == "ephemeral":
        return None
    schema = node.config.get("schema", "dbt_test__audit")
    alias = node.config.get("alias") or test_alias(node.name, node.test, node.attached)
    config = {**node.config, "schema": schema, "alias": alias}
    relation = replace(renderer.relation(node, config), type=str(kind))
    for step in opened.graph.steps.values():
        if step.relation is not None and step.relation.key == relation.key:
            raise CheckError(
                f"failures of test {node.name} would be kept in {relation.key}, which is {step.node.kind} {step.name}",
                where=node.where,
                hint="give the test another schema or alias",
            )
    return relation


def all_kept_failures(opened: LoadedProject) -> Mapping[str, Relation]:
    """Return the relations of kept failures by the ids of their tests. Tests with wrong settings fail themselves."""
    found: dict[str, Relation] = {}
    for key, step in opened.graph.steps.items():
        if step.kind == "test":
            try:
                relation = kept_failures(opened, step.node)
            except CheckError:
                continue
            if relation is not None:
                found[key] = relation
    return found
