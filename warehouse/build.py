"""Build a project into a lake: seeds and models in dependency order, each tested before anything reads it.

    files → Project → render → parse → Graph → Plan → materialize → test → state

``open_project`` does the first four steps, ``plan`` the fifth, ``build`` the rest. A killed build leaves every
relation in its last good version; the next one continues behind what was committed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udfs.errors import CuveeError, Location
from warehouse import checks, materialize, state, unchanged
from warehouse import graph as graphs
from warehouse import plan as plans
from warehouse.calls import calls
from warehouse.incremental import incremental
from warehouse.materialize import Change
from warehouse.nodeview import ran
from warehouse.opened import Opened, open_project
from warehouse.outcome import DEFAULTS, Options, Result, Watcher
from warehouse.plan import Plan, Planned
from warehouse.relation import LAKE, Relation
from warehouse.selection import select
from warehouse.state import Built
from warehouse.versions import versions
from warehouse.workers import Reader, Workers

if TYPE_CHECKING:
    import duckdb

    from udfs.expensive import ExpensiveFunction
    from warehouse.lake import Commit, Lake, Staging

#: Finished nodes wait for each other this long, so that many small ones share a commit (about 40 ms each).
_GATHER_SECONDS = 2.0


Make = Callable[["duckdb.DuckDBPyConnection", "Staging", graphs.Step, Relation], Change]
#: What came of a node's work, and the seconds it took.
Done = tuple[Change | checks.Verdict, float]


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done for a node. It ``pays`` if it calls expensive functions."""

    run: Callable[[Reader], Done]
    pays: bool


class BuildError(CuveeError):
    """Something could not be built, or a test failed."""


def plan(opened: Opened, chosen: Sequence[str] = (), excluded: Sequence[str] = ()) -> Plan:
    """What a build of the selection would do, and why. Changes nothing."""
    selected = select(opened.graph, chosen, excluded)
    cursor = opened.database.cursor
    opened.database.refresh()
    relations = opened.database.relations
    return plans.make(
        opened.graph,
        selected,
        state.read(cursor),
        relations,
        opened.functions,
        _view_tables(opened, cursor),
        full_refresh=opened.options.full_refresh,
    )


def _view_tables(opened: Opened, cursor: duckdb.DuckDBPyConnection) -> dict[str, tuple[str, ...]]:
    """The tables below each lake view that models read but the project does not build."""
    wanted = {
        name
        for step in opened.graph.steps.values()
        for name in (*step.external, *([step.relation.key] if step.kind == "source" and step.relation else []))
        if opened.database.relations.get(name, ("",))[0] == "view"
    }
    found: dict[str, tuple[str, ...]] = {}
    while wanted:
        import sqlglot

        name = wanted.pop()
        schema, _, view = name.partition(".")
        row = cursor.execute(
            "select sql from duckdb_views() where database_name = 'lake'"
            " and lower(schema_name) = ? and lower(view_name) = ?",
            [schema, view],
        ).fetchone()
        tree = sqlglot.parse_one(row[0], dialect="duckdb") if row else None
        query = tree.expression if tree is not None else None
        found[name] = tuple(dict.fromkeys(graphs.table_names(query, schema))) if query is not None else ()
        wanted |= {each for each in found[name] if opened.database.relations.get(each, ("",))[0] == "view"} - set(found)
    return found


def build(
    lake: Lake,
    root: Path,
    chosen: Sequence[str] = (),
    excluded: Sequence[str] = (),
    options: Options = DEFAULTS,
    *,
    functions: Mapping[str, ExpensiveFunction] | None = None,
    watcher: Watcher | None = None,
    kinds: Sequence[str] = (),
) -> list[Result]:
    """Build what is selected and changed, test it, and say what became of each node.

    ``kinds`` narrows the selection to kinds of nodes (``test``: run tests, all of them, build nothing). Two builds
    on one lake: the second waits for the first. Raises ProjectErrors before anything is built if the project has
    mistakes; a failing model or test raises nothing, it is among the results.
    """
    watcher = watcher or Watcher()
    registered = functions is None
    files = unchanged.digest(root) if root.is_dir() else ""
    with _alone(lake, watcher):
        opened = open_project(lake, root, options, functions=functions, say=watcher.say)
        planned = plan(opened, chosen, excluded)
        opened.renderer.selected = tuple(each.step.id for each in planned)
        watcher.started(planned)
        with lake.staging() as staging:
            results = _Build(opened, planned, staging, watcher, kinds).run()
        hooks = opened.renderer.project.on_run_start or opened.renderer.project.on_run_end
        if (
            registered
            and not kinds
            and not hooks
            and not any(result.status in ("fail", "error", "skipped") for result in results)
        ):
            ground = _ground(opened, planned, results)
            unchanged.remember(lake, root, chosen, excluded, options, ground, results, files)
        return results


def _ground(opened: Opened, plan: Plan, results: Sequence[Result]) -> unchanged.Ground:
    """What a build's results stand on: inputs as they were planned with, built tables as they are now."""
    now = versions(opened.database.cursor)
    made = {result.relation for result in results if result.status == "built"}
    names: set[str] = set()
    called: set[tuple[str, tuple[Any, ...], str]] = set()
    above = {planned.step.id for planned in plan}.union(*(opened.graph.ancestors(planned.step.id) for planned in plan))
    for step in (opened.graph.steps[key] for key in above):
        names.update(step.external)
        if step.relation is not None and step.kind not in ("test", "ephemeral"):
            names.add(step.relation.key)
        called.update((call.name, call.options, call.function.fingerprint) for call in calls(step, opened.functions))
    tables = _view_tables(opened, opened.database.cursor)
    names.update(table for each in tables.values() for table in each)
    found = {name: (now if name in made else plan.relations).get(name, ("", "absent"))[1] for name in names}
    return unchanged.Ground(dict(opened.renderer.env_vars), tuple(sorted(called, key=repr)), found)


@contextmanager
def _alone(lake: Lake, watcher: Watcher) -> Iterator[None]:
    """Wait for another build of this lake to end: both would pay for the same answers. The lock dies with it."""
    from filelock import FileLock, Timeout

    lock = FileLock(lake.root / "build.lock")
    with ExitStack() as stack:
        try:
            stack.enter_context(lock.acquire(timeout=0))
        except Timeout:
            watcher.say("another build of this lake is running; waiting for it")
            stack.enter_context(lock.acquire())
        yield


class _Build:
    """One run through a plan."""

    def __init__(self, opened: Opened, plan: Plan, staging: Staging, watcher: Watcher, kinds: Sequence[str]) -> None:
        self.opened, self.plan, self.staging, self.watcher, self.kinds = opened, plan, staging, watcher, kinds
        # More threads than cores wait for each other: 4 on 2 cores took 6.0 s where 2 took 3.8 s.
        threads = opened.options.threads or opened.renderer.target.threads
        self.workers = Workers(opened.lake, max(1, min(threads, os.cpu_count() or 1)))
        self.results: list[Result] = []
        self.stopped: dict[str, str] = {}  # nodes that cannot be built or trusted → why
        self.pending: list[tuple[Planned, Change, Built]] = []
        self.waiting_since = 0.0
        self.present = {name: kind for name, (kind, _) in plan.relations.items()}
        self.tested: list[Built] = []
        self.compacted = False

    def run(self) -> list[Result]:
        project = self.opened.renderer.project
        self._run_hooks("on-run-start", project.on_run_start)
        self._run_nodes()
        self._run_hooks("on-run-end", project.on_run_end)
        place = {planned.step.id: index for index, planned in enumerate(self.plan)}
        return sorted(self.results, key=lambda result: place[result.node])

    def _run_nodes(self) -> None:
        try:
            for group in self.plan.generations:
                self._group([each for each in group if not self.kinds or each.step.node.kind in self.kinds])
                if self._is_over():
                    return
        finally:
            self.workers.close()
            self._commit()
            self._commit_tests()

    def _group(self, group: Sequence[Planned]) -> None:
        """Do nodes that do not depend on each other.

        Those that pay for answers stay in this thread, one by one: two models with the same call pay once, and
        Ctrl-C reaches the function.
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
        for planned, work in dear:
            if self._is_over():
                return
            self._finish(planned, self.workers.here(work.run))
            self._collect(running, timeout=0)
        while running and not self._is_over():
            self._collect(running, timeout=_GATHER_SECONDS if self.pending else None)
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
        elif not planned.changed and not (step.kind == "test" and "test" in self.kinds):
            before = last.status if last is not None and step.kind == "test" else ""
            self._done(planned, "unchanged", rows=last.rows if last else None, message=before)
        else:
            try:
                if planned.problem is not None:
                    raise planned.problem
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
                self._gather(planned, replace(outcome, after=tuple(self._hooks(planned, "post_hook"))), seconds)
        except CuveeError as error:
            self._error(planned, error)

    def _error(self, planned: Planned, error: CuveeError) -> None:
        self.stopped[planned.step.id] = f"{planned.step.name} failed"
        self._done(planned, "error", message=str(error))

    def _blocked(self, planned: Planned) -> str | None:
        guards = self.plan.guards.get(planned.step.id, set())
        for key in (*planned.step.parents, *sorted(guards)):
            if key in self.stopped:
                reason = self.stopped[key]
                if planned.step.kind != "test":
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
        for hook in self._hooks(planned, "pre_hook"):
            with self.opened.lake.commit(f"build: pre-hook of {step.name}", author="cuvee build") as commit:
                commit.sql(hook)
        if step.kind == "seed":
            file = self.opened.root / step.node.path
            return _work(lambda reader: materialize.seed(reader.cursor, self.staging, step, file, relation))
        self.opened.database.refresh()
        make = materialize.view if step.kind == "view" else materialize.table
        if step.kind == "incremental" and self.opened.renderer.runs_incrementally(step.rendered):
            make = incremental
        step = self.opened.asked(step)
        if calls(step, self.opened.functions):
            return _work(partial(self._pay, make, step, relation), pays=True)
        return _work(partial(self._make, make, step, relation))

    def _make(self, make: Make, step: graphs.Step, relation: Relation, reader: Reader) -> Change:
        with reader.snapshot() as cursor:
            return make(cursor, self.staging, step, relation)

    def _pay(self, make: Make, step: graphs.Step, relation: Relation, reader: Reader) -> Change:
        from warehouse import answers  # imports pyarrow: 0.1 s that a project without calls need not spend

        if step.kind == "view":
            answers.refuse_in_view(step, self.opened.functions)
        with answers.answered(self.opened, step, reader.cursor, self.watcher) as ready:
            return make(reader.cursor, self.staging, ready, relation)

    def _hooks(self, planned: Planned, name: str) -> list[str]:
        step = planned.step
        hooks = step.node.config.get(name) or []
        texts = [str(hook["sql"] if isinstance(hook, Mapping) else hook) for hook in hooks]
        rendered = (
            self.opened.renderer.hook(text, Location(step.node.path), {"this": step.relation}, step.node)
            for text in texts
        )
        return [text for text in rendered if text]

    def _run_hooks(self, name: str, hooks: Sequence[str]) -> None:
        """on-run-start and on-run-end: each statement is a commit of its own."""
        self.opened.database.refresh()
        schemas = sorted({each.step.relation.schema for each in self.plan if each.step.relation is not None})
        renderer, steps = self.opened.renderer, self.opened.graph.steps
        results = [ran(renderer, steps[result.node].node, result) for result in self.results] if hooks else []
        for text in hooks:
            names = {"schemas": schemas, "database_schemas": [(LAKE, each) for each in schemas], "results": results}
            if statement := renderer.hook(text, Location("dbt_project.yml"), names):
                with self.opened.lake.commit(f"build: {name}", author="cuvee build") as commit:
                    try:
                        commit.sql(statement)
                    except _duckdb_error() as error:
                        message = str(error).split("\n\n")[0]
                        raise BuildError(f"{name} failed: {message}", where=Location("dbt_project.yml")) from error

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
        except _duckdb_error() as error:
            self._failed(pending, error)

    def _failed(self, pending: list[tuple[Planned, Change, Built]], error: Exception) -> None:
        if len(pending) > 1:
            for each in pending:
                self.pending = [each]
                self._commit()
            return
        planned = pending[0][0]
        self.stopped[planned.step.id] = f"{planned.step.name} failed"
        found = error if isinstance(error, CuveeError) else graphs.located(planned.step, error)
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

    def _check(self, step: graphs.Step) -> Work:
        if calls(step, self.opened.functions):
            from warehouse import answers

            answers.refuse_in_test(step, self.opened.functions)

        def check(reader: Reader) -> checks.Verdict:
            with reader.snapshot() as cursor:
                return checks.run(cursor, step)

        return _work(check)

    def _judge(self, planned: Planned, verdict: checks.Verdict, seconds: float) -> None:
        message = ""
        if verdict.status != "pass":
            rows = "1 row" if verdict.failures == 1 else f"{verdict.failures:,} rows"
            message = f"{rows} break it; see them with:\n{verdict.query}"
        if verdict.status == "fail":
            self.stopped[planned.step.id] = f"test {planned.step.name} failed"
        self.tested.append(self._built(planned, verdict.status, verdict.failures, seconds))
        self._done(planned, verdict.status, rows=verdict.failures, seconds=seconds, message=message)

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
        relation = step.relation.key if step.relation and step.kind != "test" else None
        result = Result(step.id, step.name, step.kind, status, relation, rows, seconds, message)
        self.results.append(result)
        self.watcher.finished(result)


def _work(work: Callable[[Reader], Change | checks.Verdict], *, pays: bool = False) -> Work:
    def timed(reader: Reader) -> Done:
        began = time.perf_counter()
        return work(reader), time.perf_counter() - began

    return Work(timed, pays)


def _duckdb_error() -> type[Exception]:
    import duckdb

    return duckdb.Error
