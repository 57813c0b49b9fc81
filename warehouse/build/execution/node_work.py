"""Make the work of each node of a plan: models, seeds, snapshots and tests, to run in a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from udfs.errors import Location, ProjectError
from warehouse.answers.calls import calls
from warehouse.build.execution.build_run import BuildRun, answer_context
from warehouse.build.execution.committer import Committer
from warehouse.build.execution.workers import Reader
from warehouse.build.materialize import contracts, microbatch, tables
from warehouse.build.materialize.incremental import incremental
from warehouse.build.materialize.snapshots import snapshot
from warehouse.build.materialize.tables import Change, Make
from warehouse.build.plan import Planned
from warehouse.build.tests import checks
from warehouse.graph.step import Step
from warehouse.project.batches import is_microbatch
from warehouse.project.contract import contract
from warehouse.project.package import NAME, REPLACEABLE
from warehouse.project.relation import Relation

if TYPE_CHECKING:
    import duckdb

    from warehouse.answers.answer_runner import AnswerRunner
    from warehouse.lake.commit import Staging
    from warehouse.render.renderer import Renderer

#: What came of a node's work, and the seconds it took.
Done = tuple[Change | checks.TestResult, float]


@dataclass(frozen=True, slots=True)
class Work:
    """The work of a node, and whether it calls expensive functions."""

    run: Callable[[Reader], Done]
    calls_functions: bool


class WorkMaker:
    """Makes the work of nodes. Templates query the database here, in the main thread."""

    def __init__(self, run: BuildRun, committer: Committer) -> None:
        self._run, self._committer = run, committer
        self._project, self._staging = run.project, run.staging
        self._runner: AnswerRunner | None = None

    def close(self) -> None:
        """End the engines of functions."""
        if self._runner is not None:
            self._runner.close()

    def work(self, planned: Planned) -> Work:
        """Return the work of a node. Raises CuveeError, located."""
        if planned.problem is not None:
            raise planned.problem
        if planned.step.kind == "unit_test":
            return self._unit_test(planned.step)
        if planned.step.kind == "test":
            return self._check(self._project.compile_with_database(planned.step))
        return self._compute(planned)

    def _compute(self, planned: Planned) -> Work:
        step, project = planned.step, self._project
        relation = step.relation
        assert relation is not None and step.rendered is not None
        for hook in node_hooks(project.renderer, step, "pre_hook"):
            with project.lake.commit(f"build: pre-hook of {step.name}", author="cuvee build") as commit:
                commit.sql(hook)
        if step.kind == "seed":
            file = project.renderer.project.file(step.node.path)
            return _work(lambda reader: tables.seed(reader.cursor, self._staging, step, file, relation))
        project.database.refresh()
        if is_microbatch(step.node):
            return self._in_batches(planned, relation)
        make = self._maker(planned, relation)
        step = project.compile_with_database(step)
        if calls(step, project.functions):
            return _work(partial(self._answer, make, step, relation), calls_functions=True)
        return _work(partial(self._make, make, step, relation))

    def _in_batches(self, planned: Planned, relation: Relation) -> Work:
        """Make the work of a microbatch model: batch by batch, into one change."""
        step, project = planned.step, self._project
        assert step.rendered is not None
        fresh = not project.renderer.runs_incrementally(step.rendered)
        between = microbatch.times(project.options)
        found = microbatch.batches(step.node, project.renderer.started, between, fresh=fresh)
        if project.options.empty:
            found = found[:1]
        pieces = microbatch.steps(step, found, partial(project.compile_with_database, step), fresh=fresh)
        calls_functions = any(calls(piece, project.functions) for piece in pieces)
        compute, first = self._answer if calls_functions else self._make, self._maker(planned, relation)

        def run(reader: Reader) -> Change:
            changes = [compute(first, pieces[0], relation, reader)]
            have = changes[0].columns if fresh else None
            later = _promised(step, partial(incremental, have=have))
            changes += [compute(later, piece, relation, reader) for piece in pieces[1:]]
            return microbatch.together(changes, found, step, fresh=fresh)

        return _work(run, calls_functions=calls_functions)

    def _maker(self, planned: Planned, relation: Relation) -> Make:
        """Return the function that turns a node's query into a change of the lake, as the lake is now."""
        step = planned.step
        assert step.rendered is not None
        make = tables.view if step.kind == "view" else tables.table
        if step.kind == "snapshot":
            make = self._snapshot
        elif step.kind == "incremental" and self._project.renderer.runs_incrementally(step.rendered):
            if planned.parts.partial and step.node.config.get("full_refresh") is False:
                raise ProjectError(
                    f"{step.name} is never built from nothing (full_refresh: false), so a part cannot be added to it",
                    where=Location(step.node.path),
                    hint="build parts into another target: --target",
                )
            make = incremental
        promised = contract(step.node)
        for kind in promised.silent if promised and step.kind != "view" else ():
            self._run.callback.say(f"warning: {step.name}: the constraint {kind} is not enforced")
        own = NAME in self._project.renderer.project.packages and step.node.package != NAME
        if own and step.name in REPLACEABLE and step.node.kind == "model":
            make = partial(contracts.replacing, make)
        return _promised(step, make)

    def _snapshot(self, cursor: duckdb.DuckDBPyConnection, staging: Staging, step: Step, relation: Relation) -> Change:
        return snapshot(cursor, staging, step, relation, present=self._committer.present.get(relation.key))

    def _make(self, make: Make, step: Step, relation: Relation, reader: Reader) -> Change:
        with reader.snapshot() as cursor:
            return make(cursor, self._staging, step, relation)

    def _answer(self, make: Make, step: Step, relation: Relation, reader: Reader) -> Change:
        from warehouse.answers import answers  # imports pyarrow: 0.1 s that a project without calls need not spend

        for call in calls(step, self._project.functions) if step.kind == "view" else ():  # who reads it cannot pay
            why = "cannot be called in a view: who reads the view outside Cuvée has no such function"
            raise call.refused(why, "make the model a table: {{ config(materialized='table') }}")
        with answers.answered(self._answers(), step, reader.cursor, contracts.check_columns) as ready:
            return make(reader.cursor, self._staging, ready, relation)

    def _answers(self) -> AnswerRunner:
        from warehouse.answers.answer_runner import AnswerRunner

        if self._runner is None:
            context = answer_context(self._project, self._run.limits)
            self._runner = AnswerRunner(context, self._run.callback, self._away)
        return self._runner

    @contextmanager
    def _away(self) -> Iterator[None]:
        """Give the build lock to other builds. Nothing of this build is half done then."""
        self._committer.commit()
        try:
            with self._run.lock.given_up():
                yield
        except Exception:
            self._committer.look_again()
            raise
        self._committer.look_again()

    def _unit_test(self, step: Step) -> Work:
        from warehouse.build.tests import unit_tests

        return _checking(unit_tests.ready(self._project, step, frozenset(self._committer.present)))

    def _check(self, step: Step) -> Work:
        for call in calls(step, self._project.functions):  # a test pays for nothing
            raise call.refused("cannot be called in a test", "call it in a model, and test the model")
        kept = checks.kept_failures(self._project, step.node)
        return _checking(lambda cursor: checks.run(cursor, step, self._staging, kept))


def node_hooks(renderer: Renderer, step: Step, name: str) -> list[str]:
    """Render a node's ``pre_hook`` or ``post_hook``."""
    hooks = step.node.config.get(name) or []
    texts = [str(hook["sql"] if isinstance(hook, Mapping) else hook) for hook in hooks]
    rendered = (renderer.hook(text, Location(step.node.path), {"this": step.relation}, step.node) for text in texts)
    return [text for text in rendered if text]


def _promised(step: Step, make: Make) -> Make:
    """Run ``make`` after the model's header, and check the model's contract around it."""
    if header := step.node.config.get("sql_header"):
        make = partial(tables.headed, make, str(header))
    promised = contract(step.node)
    return partial(contracts.kept, make, promised) if promised else make


def _checking(check: Callable[[duckdb.DuckDBPyConnection], checks.TestResult]) -> Work:
    def checked(reader: Reader) -> checks.TestResult:
        with reader.snapshot() as cursor:
            return check(cursor)

    return _work(checked)


def _work(work: Callable[[Reader], Change | checks.TestResult], *, calls_functions: bool = False) -> Work:
    def timed(reader: Reader) -> Done:
        began = time.perf_counter()
        return work(reader), time.perf_counter() - began

    return Work(timed, calls_functions)
