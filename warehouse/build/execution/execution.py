"""Run a plan: nodes that are due are computed in parallel, committed one after the other, and tested.

Nodes go in groups that depend only on groups before them. What a group computed is committed before the next begins,
and every two seconds. A test that fails keeps what is downstream from being built.

As many nodes are computed at a time as the target's ``threads``, up to the number of cores. Those that pay for answers
run one after the other, so that equal calls are paid once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace

from udfs.errors import CuveeError, Location, ProjectError
from warehouse.answers.budget import LimitReachedError
from warehouse.build.execution.build_run import BuildRun
from warehouse.build.execution.committer import GATHER_SECONDS, Committer
from warehouse.build.execution.node_work import Done, Work, WorkMaker, node_hooks
from warehouse.build.execution.workers import Workers
from warehouse.build.plan import Planned
from warehouse.build.tests.checks import TestResult
from warehouse.lake.connection import duckdb_error
from warehouse.project.relation import LAKE
from warehouse.project.results import TESTS
from warehouse.render.node_view import ran


class Execution:
    """One run through a plan."""

    def __init__(self, run: BuildRun) -> None:
        self._run, self._project = run, run.project
        # More threads than cores wait for each other: 4 on 2 cores took 6.0 s where 2 took 3.8 s.
        threads = run.project.options.threads or run.project.renderer.target.threads
        self._workers = Workers(run.project.lake, max(1, min(threads, os.cpu_count() or 1)))
        # Rows added to a part, or a part added to, would pass for all of them.
        run.project.renderer.from_scratch.update(
            each.step.id
            for each in run.plan
            if each.is_outdated or (each.last and each.last.parts.partial not in ("", each.parts.partial))
        )
        self._committer = Committer(run)
        self._maker = WorkMaker(run, self._committer)

    def run(self) -> None:
        """Build the plan. The result of each node is added to the results."""
        project, run = self._project.renderer.project, self._run
        self._hooks("on-run-start", project.on_run_start)
        self._run_nodes()
        self._hooks("on-run-end", project.on_run_end)
        place = {planned.step.id: index for index, planned in enumerate(run.plan)}
        run.results.sort(key=lambda result: place[result.node])

    def _hooks(self, name: str, hooks: Sequence[str]) -> None:
        """Run on-run-start or on-run-end: each statement is a commit of its own. Raises ProjectError."""
        opened, run = self._project, self._run
        opened.database.refresh()
        schemas = sorted({each.step.relation.schema for each in run.plan if each.step.relation is not None})
        renderer, steps = opened.renderer, opened.graph.steps
        results = [ran(renderer, steps[result.node].node, result) for result in run.results] if hooks else []
        for text in hooks:
            names = {"schemas": schemas, "database_schemas": [(LAKE, each) for each in schemas], "results": results}
            if statement := renderer.hook(text, Location("dbt_project.yml"), names):
                with opened.lake.commit(f"build: {name}", author="cuvee build") as commit:
                    try:
                        commit.sql(statement)
                    except duckdb_error() as error:
                        message = str(error).split("\n\n")[0]
                        raise ProjectError(f"{name} failed: {message}", where=Location("dbt_project.yml")) from error

    def _run_nodes(self) -> None:
        try:
            for group in self._run.plan.generations:
                self._group(self._run.due(group))
                if self._is_over():
                    return
        finally:
            self._workers.close()
            self._maker.close()
            self._committer.commit()
            self._committer.commit_tests()

    def _group(self, group: Sequence[Planned]) -> None:
        """Build nodes that do not depend on each other.

        Those that call expensive functions come last and stay in this thread, one by one: two models with the same
        call pay once, Ctrl-C reaches the function, and while it answers nothing of this build is half done, so that
        other builds may have the build lock.
        """
        self._workers.release()
        running: dict[Future[Done], Planned] = {}
        calling: list[tuple[Planned, Work]] = []
        for planned in group:
            work = self._prepare(planned)
            if work is not None and work.calls_functions:
                calling.append((planned, work))
            elif work is not None:
                running[self._workers.submit(work.run)] = planned
        while running and not self._is_over():
            self._collect(running, timeout=GATHER_SECONDS if self._committer.is_waiting else None)
        self._committer.commit()
        for planned, work in calling:
            if self._is_over():
                return
            self._finish(planned, self._workers.here(work.run))
        self._committer.commit()

    def _is_over(self) -> bool:
        return self._project.options.fail_fast and any(result.failed for result in self._run.results)

    def _collect(self, running: dict[Future[Done], Planned], timeout: float | None) -> None:
        """Take the work that is done by now, or within ``timeout`` seconds."""
        wait(running, timeout, return_when=FIRST_COMPLETED)
        for future in [each for each in running if each.done()]:
            self._finish(running.pop(future), future)
        self._committer.commit_if_due()

    def _prepare(self, planned: Planned) -> Work | None:
        """Return the work of a node; None if there is nothing to do."""
        step, last = planned.step, planned.last
        if blocked := self._blocked(planned):
            self._committer.done(planned, "skipped", message=blocked)
        elif not planned.changed and not (step.kind in TESTS and "test" in self._run.kinds):
            before = last.status if last is not None and step.kind in TESTS else ""
            self._committer.done(planned, "unchanged", rows=last.rows if last else None, message=before)
        else:
            try:
                return self._maker.work(planned)
            except CuveeError as error:
                self._committer.failed(planned, error)
        return None

    def _finish(self, planned: Planned, future: Future[Done]) -> None:
        try:
            outcome, seconds = future.result()
            if isinstance(outcome, TestResult):
                self._committer.judge(planned, outcome, seconds)
            else:
                after = node_hooks(self._project.renderer, planned.step, "post_hook")
                self._committer.gather(planned, replace(outcome, after=tuple(after)), seconds)
        except LimitReachedError as error:
            self._committer.stopped[planned.step.id] = f"{planned.step.name} is not finished"
            self._committer.done(planned, "limited", message=str(error))
        except CuveeError as error:
            self._committer.failed(planned, error)

    def _blocked(self, planned: Planned) -> str | None:
        """Return why a node cannot be built: what it needs, or a test that guards it, failed."""
        graph, stopped = self._project.graph, self._committer.stopped
        guards = self._run.plan.guards.get(planned.step.id, set())
        for key in (*graph.before(planned.step.id), *sorted(guards)):
            if key in stopped:
                reason = stopped[key]
                if planned.step.kind not in TESTS:
                    stopped[planned.step.id] = reason
                return reason
            parent = graph.steps[key]
            if parent.kind == "ephemeral" and (above := next((p for p in parent.parents if p in stopped), None)):
                return stopped[above]
        return None
