"""Commit what a build computed, and record the result of each node."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from udfs.errors import CuveeError
from warehouse.build import state
from warehouse.build.execution.build_run import BuildRun
from warehouse.build.materialize.tables import Change
from warehouse.build.plan import Planned
from warehouse.build.state import Built
from warehouse.build.tests.checks import TestResult
from warehouse.graph.parsing import located
from warehouse.lake.connection import duckdb_error
from warehouse.project.results import TESTS, NodeResult

if TYPE_CHECKING:
    from warehouse.lake.commit import Commit

#: Finished nodes wait for each other this long, so that many small ones share a commit (about 40 ms each).
GATHER_SECONDS = 2.0


class Committer:
    """Gathers changes into commits. ``stopped`` says why a node cannot be built or trusted."""

    def __init__(self, run: BuildRun) -> None:
        self._run = run
        self.stopped: dict[str, str] = {}
        self.present = {name: kind for name, (kind, _) in run.plan.relations.items()}
        self._pending: list[tuple[Planned, Change, Built]] = []
        self._waiting_since = 0.0
        self._tested: list[Built] = []
        self._compacted = False

    @property
    def is_waiting(self) -> bool:
        """Return whether a change is computed and not committed."""
        return bool(self._pending)

    def look_again(self) -> None:
        """Read the lake's relations again: another build may have changed them."""
        database = self._run.project.database
        database.refresh()
        self.present = {name: kind for name, (kind, _) in database.relations.items()}

    def gather(self, planned: Planned, change: Change, seconds: float) -> None:
        """Keep a change for the next commit, which comes at once if a change has waited for long."""
        if not self._pending:
            self._waiting_since = time.perf_counter()
        self._pending.append((planned, change, _built(planned, "built", change.rows, seconds)))
        self.commit_if_due()

    def commit_if_due(self) -> None:
        """Commit if a change has waited for ``GATHER_SECONDS``."""
        if self._pending and time.perf_counter() - self._waiting_since >= GATHER_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Put everything that is computed into the lake, in one commit. If that fails, one by one."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        try:
            self._commit_together(pending)
        except (CuveeError, duckdb_error()) as error:
            if len(pending) == 1:
                planned = pending[0][0]
                self.failed(planned, error if isinstance(error, CuveeError) else located(planned.step, error))
                return
            for each in pending:
                self._pending = [each]
                self.commit()

    def judge(self, planned: Planned, result: TestResult, seconds: float) -> None:
        """Record a test's result. The rows that break it are committed if they are to be kept. Raises SqlError."""
        if result.change is not None:
            self._keep(planned, result.change)
        if result.status == "fail":
            kind = "unit test" if planned.step.kind == "unit_test" else "test"
            self.stopped[planned.step.id] = f"{kind} {planned.step.name} failed"
        self._tested.append(_built(planned, result.status, result.failures, seconds))
        self.done(planned, result.status, rows=result.failures, seconds=seconds, message=result.message)

    def commit_tests(self) -> None:
        """Commit the state of all tests that were run."""
        if self._tested:
            with self._run.project.lake.commit(f"build: {len(self._tested)} tests", author="cuvee build") as commit:
                self._remember(commit, self._tested)

    def failed(self, planned: Planned, error: Exception) -> None:
        """Record an error of a node, which stops what is below it."""
        self.stopped[planned.step.id] = f"{planned.step.name} failed"
        self.done(planned, "error", message=str(error))

    def done(
        self, planned: Planned, status: str, *, rows: int | None = None, seconds: float = 0.0, message: str = ""
    ) -> None:
        """Add a node's result, and tell it."""
        step = planned.step
        result = NodeResult(
            node=step.id,
            name=step.name,
            kind=step.kind,
            status=status,
            relation=step.relation.key if step.relation and step.kind not in TESTS else None,
            rows=rows,
            seconds=seconds,
            message=message,
            ended=time.time(),
        )
        self._run.results.append(result)
        self._run.callback.finished(result)

    def _commit_together(self, pending: list[tuple[Planned, Change, Built]]) -> None:
        names = [planned.step.name for planned, _, _ in pending]
        kind = "model" if len(names) == 1 else "models"
        message, extra = f"build: {kind} {', '.join(names)}", {"nodes": [row.node for _, _, row in pending]}
        with self._run.project.lake.commit(message, author="cuvee build", extra=extra) as commit:
            for _, change, _ in pending:
                change.apply(commit, self.present.get(change.relation.key))
            self._remember(commit, [row for _, _, row in pending])
        for planned, change, row in pending:
            self.present[change.relation.key] = "view" if change.kind == "view" else "table"
            self.done(planned, "built", rows=change.rows, seconds=row.seconds)

    def _keep(self, planned: Planned, change: Change) -> None:
        key = change.relation.key
        message = f"build: failures of {planned.step.name}"
        try:
            with self._run.project.lake.commit(message, author="cuvee build") as commit:
                change.apply(commit, self.present.get(key))
        except duckdb_error() as error:
            raise located(planned.step, error) from error
        self.present[key] = "view" if change.kind == "view" else "table"

    def _remember(self, commit: Commit, rows: Sequence[Built]) -> None:
        if not self._compacted:
            state.compact(commit)
            self._compacted = True
        state.write(commit, rows)


def _built(planned: Planned, status: str, rows: int | None, seconds: float) -> Built:
    step = planned.step
    return Built(
        node=step.id,
        relation=step.relation.key if step.relation else "",
        kind=step.kind,
        status=status,
        fingerprint=planned.parts.fingerprint,
        parts=planned.parts,
        sql=step.sql,
        rows=rows,
        seconds=seconds,
    )
