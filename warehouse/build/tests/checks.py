"""Tests of a project: each is a query for the rows that break it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from udfs.errors import ProjectError
from warehouse.build.materialize import tables
from warehouse.build.materialize.tables import Change
from warehouse.graph.parsing import located
from warehouse.graph.step import Step
from warehouse.lake.quoting import literal
from warehouse.project.relation import Relation

if TYPE_CHECKING:
    import duckdb

    from warehouse.lake.commit import Staging


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
    import duckdb

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
            query = f"select * from read_parquet({literal(change.files[0])})"
    counts = f"select coalesce({counted}, 0) as failures from ({query}) as failing"
    try:
        row = cursor.execute(f"select failures, failures {warn_if}, failures {error_if} from ({counts})").fetchone()
    except duckdb.Error as error:
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
    import duckdb

    try:
        row = cursor.execute(f"select 0 {text}").fetchone()
    except duckdb.Error:
        row = None
    if row is None or len(row) != 1 or not isinstance(row[0], bool):
        raise CheckError(
            f"test {step.name}: {text!r} is not a valid condition", where=step.node.where, hint="for example: >10"
        )
    return text
