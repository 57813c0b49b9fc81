"""One run through a plan: what is due is computed side by side, committed one change after the other, and tested.

Nodes go in groups that depend only on groups before them. What a group computed is committed before the next begins,
and every two seconds; what a test finds broken keeps what lies downstream from being built.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from udfs.errors import CuveeError, Location
from warehouse.answers.budget import LimitReachedError
from warehouse.answers.calls import calls
from warehouse.build import hooks, state
from warehouse.build.materialize import contracts, microbatch, tables
from warehouse.build.materialize.incremental import incremental
from warehouse.build.materialize.snapshots import snapshot
from warehouse.build.materialize.tables import Change, Make
from warehouse.build.plan import Plan, Planned
from warehouse.build.state import Built
from warehouse.build.tests import checks, stored_failures
from warehouse.build.workers import Reader, Workers
from warehouse.graph.graph import Step
from warehouse.graph.loaded_project import Opened
from warehouse.graph.parsing import located
from warehouse.lake.lake import duckdb_error
from warehouse.project.outcome import TESTS, BuildError, Result, Watcher
from warehouse.project.relation import Relation

if TYPE_CHECKING:
    import duckdb

    from warehouse.answers.answer_runner import Paying
    from warehouse.build.build_lock import Turn
    from warehouse.lake.lake import Commit, Staging

#: Finished nodes wait for each other this long, so that many small ones share a commit (about 40 ms each).
_GATHER_SECONDS = 2.0


#: What came of a node's work, and the seconds it took.
Done = tuple[Change | checks.Verdict, float]


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done for a node. It ``pays`` if it calls expensive functions."""

    run: Callable[[Reader], Done]
    pays: bool


class Execution:
    """One run through a plan."""

    def __init__(
        self,
        opened: Opened,
        plan: Plan,
        staging: Staging,
        watcher: Watcher,
        kinds: Sequence[str],
        results: list[Result],
        turn: Turn,
    ) -> None:
        self.opened, self.plan, self.staging, self.watcher, self.kinds = opened, plan, staging, watcher, kinds
        # More threads than cores wait for each other: 4 on 2 cores took 6.0 s where 2 took 3.8 s.
        threads = opened.options.threads or opened.renderer.target.threads
        self.workers = Workers(opened.lake, max(1, min(threads, os.cpu_count() or 1)))
        self.results = results
        self.turn = turn
        self.paying: Paying | None = None
        # Rows added to a part, or a part added to, would pass for all of them.
        opened.renderer.anew.update(
            each.step.id for each in plan if each.last and each.last.parts.partial not in ("", each.parts.partial)
        )
        self.stopped: dict[str, str] = {}  # nodes that cannot be built or trusted → why
        self.pending: list[tuple[Planned, Change, Built]] = []
        self.waiting_since = 0.0
        self.present = {name: kind for name, (kind, _) in plan.relations.items()}
        self.tested: list[Built] = []
        self.compacted = False

    def run(self) -> None:
        """Build what the plan says; what becomes of each node is added to ``results``."""
        project = self.opened.renderer.project
        hooks.run(self.opened, self.plan, self.results, "on-run-start", project.on_run_start)
        self._run_nodes()
        hooks.run(self.opened, self.plan, self.results, "on-run-end", project.on_run_end)
        place = {planned.step.id: index for index, planned in enumerate(self.plan)}
        self.results.sort(key=lambda result: place[result.node])

    def _run_nodes(self) -> None:
        try:
            for group in self.plan.generations:
                self._group([each for each in group if not self.kinds or each.step.node.kind in self.kinds])
                if self._is_over():
                    return
        finally:
            self.workers.close()
            if self.paying is not None:
                self.paying.close()
            self._commit()
            self._commit_tests()

    def _group(self, group: Sequence[Planned]) -> None:
        """Do nodes that do not depend on each other.

        Those that pay for answers come last and stay in this thread, one by one: two models with the same call pay
        once, Ctrl-C reaches the function, and while it answers nothing of this build is half done, so that other
        builds may have their turn.
        """
        self.workers.release()
        running: dict[Future[Done], Planned] = {}
        dear: list[tuple[Planned, Work]] = []
        for planned in group:
            work = self._prepare(planned)
            if work is not None and work.pays:
                dear.append((planned, work))
            elif work is not None:
                running[self.workers.submit(work.run)] = planned
        while running and not self._is_over():
            self._collect(running, timeout=_GATHER_SECONDS if self.pending else None)
        self._commit()
        for planned, work in dear:
            if self._is_over():
                return
            self._finish(planned, self.workers.here(work.run))
        self._commit()

    def _is_over(self) -> bool:
        return self.opened.options.fail_fast and any(result.failed for result in self.results)

    def _collect(self, running: dict[Future[Done], Planned], timeout: float | None) -> None:
        """Take what is done by now, or within ``timeout`` seconds."""
        wait(running, timeout, return_when=FIRST_COMPLETED)
        for future in [each for each in running if each.done()]:
            self._finish(running.pop(future), future)
        if self.pending and time.perf_counter() - self.waiting_since >= _GATHER_SECONDS:
            self._commit()

    def _prepare(self, planned: Planned) -> Work | None:
        """What is to be done for a node; None if it is nothing."""
        step, last = planned.step, planned.last
        if blocked := self._blocked(planned):
            self._done(planned, "skipped", message=blocked)
        elif not planned.changed and not (step.kind in TESTS and "test" in self.kinds):
            before = last.status if last is not None and step.kind in TESTS else ""
            self._done(planned, "unchanged", rows=last.rows if last else None, message=before)
        else:
            try:
                if planned.problem is not None:
                    raise planned.problem
                if step.kind == "unit_test":
                    return self._unit_test(step)
                return self._check(self.opened.asked(step)) if step.kind == "test" else self._compute(planned)
            except CuveeError as error:
                self._error(planned, error)
        return None

    def _finish(self, planned: Planned, future: Future[Done]) -> None:
        try:
            outcome, seconds = future.result()
            if isinstance(outcome, checks.Verdict):
                self._judge(planned, outcome, seconds)
            else:
                after = hooks.of_node(self.opened.renderer, planned.step, "post_hook")
                self._gather(planned, replace(outcome, after=tuple(after)), seconds)
        except LimitReachedError as error:
            self.stopped[planned.step.id] = f"{planned.step.name} is not finished"
            self._done(planned, "limited", message=str(error))
        except CuveeError as error:
            self._error(planned, error)

    def _error(self, planned: Planned, error: CuveeError) -> None:
        self.stopped[planned.step.id] = f"{planned.step.name} failed"
        self._done(planned, "error", message=str(error))

    def _blocked(self, planned: Planned) -> str | None:
        guards = self.plan.guards.get(planned.step.id, set())
        for key in (*self.opened.graph.before(planned.step.id), *sorted(guards)):
            if key in self.stopped:
                reason = self.stopped[key]
                if planned.step.kind not in TESTS:
                    self.stopped[planned.step.id] = reason
                return reason
            parent = self.opened.graph.steps[key]
            if parent.kind == "ephemeral" and (above := next((p for p in parent.parents if p in self.stopped), None)):
                return self.stopped[above]
        return None

    # --- models and seeds -----------------------------------------------------------------------------------

    def _compute(self, planned: Planned) -> Work:
        """How a model or seed is computed. What its template asks the database is asked now, in the main thread."""
        step = planned.step
        relation = step.relation
        assert relation is not None and step.rendered is not None
        for hook in hooks.of_node(self.opened.renderer, planned.step, "pre_hook"):
            with self.opened.lake.commit(f"build: pre-hook of {step.name}", author="cuvee build") as commit:
                commit.sql(hook)
        if step.kind == "seed":
            file = self.opened.root / step.node.path
            return _work(lambda reader: tables.seed(reader.cursor, self.staging, step, file, relation))
        self.opened.database.refresh()
        if microbatch.is_microbatch(step.node):
            return self._in_batches(planned, relation)
        make = self._maker(planned, relation)
        step = self.opened.asked(step)
        if calls(step, self.opened.functions):
            return _work(partial(self._pay, make, step, relation), pays=True)
        return _work(partial(self._make, make, step, relation))

    def _in_batches(self, planned: Planned, relation: Relation) -> Work:
        """How a microbatch model is computed: batch by batch, into one change."""
        step, opened = planned.step, self.opened
        assert step.rendered is not None
        anew = not opened.renderer.runs_incrementally(step.rendered)
        between = microbatch.times(opened.options)
        found = microbatch.batches(step.node, opened.renderer.started, between, anew=anew)
        if opened.options.empty:
            found = found[:1]
        pieces = microbatch.steps(step, found, partial(opened.asked, step), anew=anew)
        pays = any(calls(piece, opened.functions) for piece in pieces)
        compute, first = self._pay if pays else self._make, self._maker(planned, relation)

        def run(reader: Reader) -> Change:
            changes = [compute(first, pieces[0], relation, reader)]
            have = changes[0].columns if anew else None
            later = self._promised(step, partial(incremental, have=have))
            changes += [compute(later, piece, relation, reader) for piece in pieces[1:]]
            return microbatch.together(changes, found, step, anew=anew)

        return _work(run, pays=pays)

    def _maker(self, planned: Planned, relation: Relation) -> Make:
        """What turns a node's query into a change of the lake, as things are now."""
        step = planned.step
        assert step.rendered is not None
        make = tables.view if step.kind == "view" else tables.table
        if step.kind == "snapshot":
            make = self._snapshot
        elif step.kind == "incremental" and self.opened.renderer.runs_incrementally(step.rendered):
            if planned.parts.partial and step.node.config.get("full_refresh") is False:
                raise BuildError(
                    f"{step.name} is never built from nothing (full_refresh: false), so a part cannot be added to it",
                    where=Location(step.node.path),
                    hint="build parts into another target: --target",
                )
            make = incremental
        promised = contracts.contract(step.node)
        for kind in promised.silent if promised and step.kind != "view" else ():
            self.watcher.say(f"warning: {step.name}: the constraint {kind} is not enforced")
        return self._promised(step, make)

    def _promised(self, step: Step, make: Make) -> Make:
        """``make`` under the model's contract, after its header."""
        if header := step.node.config.get("sql_header"):
            make = partial(tables.headed, make, str(header))
        promised = contracts.contract(step.node)
        return partial(contracts.kept, make, promised) if promised else make

    def _snapshot(self, cursor: duckdb.DuckDBPyConnection, staging: Staging, step: Step, relation: Relation) -> Change:
        return snapshot(cursor, staging, step, relation, present=self.present.get(relation.key))

    def _make(self, make: Make, step: Step, relation: Relation, reader: Reader) -> Change:
        with reader.snapshot() as cursor:
            return make(cursor, self.staging, step, relation)

    def _pay(self, make: Make, step: Step, relation: Relation, reader: Reader) -> Change:
        from warehouse.answers import answers  # imports pyarrow: 0.1 s that a project without calls need not spend

        if step.kind == "view":
            answers.refuse_in_view(step, self.opened.functions)
        if self.paying is None:
            from warehouse.answers.answer_runner import Paying

            self.paying = Paying(self.opened, self.watcher, self._away)
        with answers.answered(self.opened, step, reader.cursor, self.watcher, self.paying) as ready:
            return make(reader.cursor, self.staging, ready, relation)

    @contextmanager
    def _away(self) -> Iterator[None]:
        """Let other builds have their turn: nothing of this one is half done then."""
        self._commit()
        try:
            with self.turn.given_up():
                yield
        except Exception:
            self._look_again()
            raise
        self._look_again()

    def _look_again(self) -> None:
        """Others may have built meanwhile."""
        self.opened.database.refresh()
        self.present = {name: kind for name, (kind, _) in self.opened.database.relations.items()}

    def _gather(self, planned: Planned, change: Change, seconds: float) -> None:
        if not self.pending:
            self.waiting_since = time.perf_counter()
        self.pending.append((planned, change, self._built(planned, "built", change.rows, seconds)))
        if time.perf_counter() - self.waiting_since >= _GATHER_SECONDS:
            self._commit()

    def _commit(self) -> None:
        """Put everything that is computed into the lake, in one commit; if that fails, one by one."""
        pending, self.pending = self.pending, []
        if not pending:
            return
        try:
            self._commit_together(pending)
        except CuveeError as error:
            self._failed(pending, error)
        except duckdb_error() as error:
            self._failed(pending, error)

    def _failed(self, pending: list[tuple[Planned, Change, Built]], error: Exception) -> None:
        if len(pending) > 1:
            for each in pending:
                self.pending = [each]
                self._commit()
            return
        planned = pending[0][0]
        self.stopped[planned.step.id] = f"{planned.step.name} failed"
        found = error if isinstance(error, CuveeError) else located(planned.step, error)
        self._done(planned, "error", message=str(found))

    def _commit_together(self, pending: list[tuple[Planned, Change, Built]]) -> None:
        names = [planned.step.name for planned, _, _ in pending]
        kind = "model" if len(names) == 1 else "models"
        with self.opened.lake.commit(
            f"build: {kind} {', '.join(names)}",
            author="cuvee build",
            extra={"nodes": [row.node for _, _, row in pending]},
        ) as commit:
            for _, change, _ in pending:
                change.apply(commit, self.present.get(change.relation.key))
            self._remember(commit, [row for _, _, row in pending])
        for planned, change, row in pending:
            self.present[change.relation.key] = "view" if change.kind == "view" else "table"
            self._done(planned, "built", rows=change.rows, seconds=row.seconds)

    def _built(self, planned: Planned, status: str, rows: int | None, seconds: float) -> Built:
        step = planned.step
        relation = step.relation.key if step.relation else ""
        return Built(
            step.id, relation, step.kind, status, planned.parts.fingerprint, planned.parts, step.sql, rows, seconds
        )

    # --- tests ----------------------------------------------------------------------------------------------

    def _unit_test(self, step: Step) -> Work:
        from warehouse.build.tests import unit_tests

        compare = unit_tests.ready(self.opened, step, frozenset(self.present))

        def check(reader: Reader) -> checks.Verdict:
            with reader.snapshot() as cursor:
                return compare(cursor)

        return _work(check)

    def _check(self, step: Step) -> Work:
        if calls(step, self.opened.functions):
            from warehouse.answers import answers

            answers.refuse_in_test(step, self.opened.functions)

        kept = stored_failures.place(self.opened, step.node)

        def check(reader: Reader) -> checks.Verdict:
            with reader.snapshot() as cursor:
                return checks.run(cursor, step, self.staging, kept)

        return _work(check)

    def _judge(self, planned: Planned, verdict: checks.Verdict, seconds: float) -> None:
        if verdict.change is not None:
            self._keep(planned, verdict.change)
        if verdict.status == "fail":
            kind = "unit test" if planned.step.kind == "unit_test" else "test"
            self.stopped[planned.step.id] = f"{kind} {planned.step.name} failed"
        self.tested.append(self._built(planned, verdict.status, verdict.failures, seconds))
        self._done(planned, verdict.status, rows=verdict.failures, seconds=seconds, message=verdict.message)

    def _keep(self, planned: Planned, change: Change) -> None:
        """Commit the rows that break a test. Raises SqlError."""
        key = change.relation.key
        try:
            with self.opened.lake.commit(f"build: failures of {planned.step.name}", author="cuvee build") as commit:
                change.apply(commit, self.present.get(key))
        except duckdb_error() as error:
            raise located(planned.step, error) from error
        self.present[key] = "view" if change.kind == "view" else "table"

    def _commit_tests(self) -> None:
        if self.tested:
            with self.opened.lake.commit(f"build: {len(self.tested)} tests", author="cuvee build") as commit:
                self._remember(commit, self.tested)

    def _remember(self, commit: Commit, rows: Sequence[Built]) -> None:
        if not self.compacted:
            state.compact(commit)
            self.compacted = True
        state.write(commit, rows)

    def _done(
        self, planned: Planned, status: str, *, rows: int | None = None, seconds: float = 0.0, message: str = ""
    ) -> None:
        step = planned.step
        relation = step.relation.key if step.relation and step.kind not in TESTS else None
        result = Result(step.id, step.name, step.kind, status, relation, rows, seconds, message, time.time())
        self.results.append(result)
        self.watcher.finished(result)


def _work(work: Callable[[Reader], Change | checks.Verdict], *, pays: bool = False) -> Work:
    def timed(reader: Reader) -> Done:
        began = time.perf_counter()
        return work(reader), time.perf_counter() - began

    return Work(timed, pays)
