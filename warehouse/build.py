"""Build a project into a lake: seeds and models in dependency order, each tested before anything reads it.

    files → Project → render → parse → Graph → Plan → materialize → test → state

``open_project`` does the first four steps, ``plan`` the fifth, ``build`` the rest. A killed build leaves every
relation in its last good version; the next one continues behind what was committed.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udfs.errors import CuveeError, Location
from warehouse import artifacts, checks, materialize, state, unchanged
from warehouse import graph as graphs
from warehouse import plan as plans
from warehouse.deferral import deferred
from warehouse.incremental import incremental
from warehouse.materialize import Change
from warehouse.opened import Opened, open_project
from warehouse.outcome import DEFAULTS, Options, Result, Watcher
from warehouse.plan import Plan, Planned
from warehouse.relation import Relation
from warehouse.state import Built
from warehouse.versions import versions

if TYPE_CHECKING:
    import duckdb

    from udfs.expensive import ExpensiveFunction
    from warehouse.lake import Lake, Staging

#: Finished nodes wait for each other this long, so that many small ones share a commit (about 40 ms each).
_GATHER_SECONDS = 2.0


class BuildError(CuveeError):
    """Something could not be built, or a test failed."""


def plan(
    opened: Opened,
    chosen: Sequence[str] = (),
    excluded: Sequence[str] = (),
    *,
    kinds: Sequence[str] = (),
    only: Collection[str] | None = None,
) -> Plan:
    """What a build of the selection would do, and why. Changes nothing. ``only`` are ids, in place of a selection."""
    selected = opened.select(chosen, excluded) if only is None else set(only) & set(opened.graph.steps)
    if kinds:
        selected = {key for key in selected if opened.graph.steps[key].node.kind in kinds}
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
        partial=opened.renderer.part.words if opened.renderer.part else "",
        deferred=opened.renderer.deferred,
    )


def touched(graph: graphs.Graph, planned: Planned) -> list[str]:
    """What is built of a node, directly or not, in the order of building."""
    below = graph.descendants(planned.step.id)
    return [key for key in graph.order() if key in below and graph.steps[key].kind != "test"]


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
    only: Collection[str] | None = None,
) -> list[Result]:
    """Build what is selected and changed, test it, and say what became of each node.

    ``kinds`` narrows the selection to kinds of nodes (``test``: run tests, all of them, build nothing). Two builds
    on one lake: the second waits for the first. ``only`` are the ids of the nodes to build of those that were selected
    in an earlier build. Raises ProjectErrors before anything is built if the project has
    mistakes; a failing model or test raises nothing, it is among the results.
    """
    watcher = watcher or Watcher()
    registered = functions is None
    files = unchanged.digest(root) if root.is_dir() else ""
    with _alone(lake, watcher):
        opened = open_project(lake, root, options, functions=functions, say=watcher.say)
        opened = deferred(opened, chosen, excluded, only)
        planned = plan(opened, chosen, excluded, kinds=kinds, only=only)
        watcher.started(planned)
        with lake.staging() as staging, _recorded(opened, planned, watcher, kinds, (chosen, excluded)) as results:
            _Build(opened, planned, staging, watcher, kinds, results).run()
        hooks = opened.renderer.project.on_run_start or opened.renderer.project.on_run_end
        if (
            registered
            and not kinds
            and only is None
            and not hooks
            and unchanged.holds_again(options)
            and not any(result.status in ("fail", "error", "skipped") for result in results)
        ):
            ground = _ground(opened, planned, results)
            unchanged.remember(lake, root, chosen, excluded, options, ground, results, files)
        return results


def _ground(opened: Opened, plan: Plan, results: Sequence[Result]) -> unchanged.Ground:
    """What a build's results stand on: inputs as they were planned with, built tables as they are now."""
    from warehouse.calls import calls

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
def _recorded(
    opened: Opened, plan: Plan, watcher: Watcher, kinds: Sequence[str], asked: tuple[Sequence[str], Sequence[str]]
) -> Iterator[list[Result]]:
    """The list of a build's results; however the build ends, dbt's artifacts tell of it."""
    results: list[Result] = []
    which = {"model": "run"}.get(kinds[0], kinds[0]) if kinds else "build"
    call = artifacts.invocation(which, opened.root, *asked, opened.options, kinds)
    with artifacts.unless_unwritable(watcher.say):
        artifacts.write_manifest(opened, call)
    try:
        yield results
    finally:
        done = {result.node for result in results}
        due = [each.step.id for each in plan if not kinds or each.step.node.kind in kinds]
        with artifacts.unless_unwritable(watcher.say):
            artifacts.write_run_results(call, results, opened.graph.steps, [key for key in due if key not in done])


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

    def __init__(
        self,
        opened: Opened,
        plan: Plan,
        staging: Staging,
        watcher: Watcher,
        kinds: Sequence[str],
        results: list[Result],
    ) -> None:
        self.opened, self.plan, self.staging, self.watcher, self.kinds = opened, plan, staging, watcher, kinds
        self.cursor = opened.lake.cursor()
        self.results = results
        # Rows added to a part, or a part added to, would pass for all of them.
        opened.renderer.anew.update(
            each.step.id for each in plan if each.last and each.last.parts.partial not in ("", each.parts.partial)
        )
        self.stopped: dict[str, str] = {}  # nodes that cannot be built or trusted → why
        self.pending: list[tuple[Planned, Change, Built]] = []
        self.waiting_since = 0.0
        self.present = {name: kind for name, (kind, _) in plan.relations.items()}
        self.tested: list[Built] = []

    def run(self) -> None:
        """Build what the plan says; what becomes of each node is added to ``results``."""
        project = self.opened.renderer.project
        self._run_hooks("on-run-start", project.on_run_start)
        self._run_nodes()
        self._run_hooks("on-run-end", project.on_run_end)

    def _run_nodes(self) -> None:
        try:
            for group in self.plan.generations:
                for planned in sorted(group, key=lambda each: each.step.kind == "test"):
                    if self.kinds and planned.step.node.kind not in self.kinds:
                        continue
                    self._node(planned)
                    if self.opened.options.fail_fast and any(result.failed for result in self.results):
                        return
                self._commit()
        finally:
            self._commit()
            self._commit_tests()
            self.cursor.close()

    def _node(self, planned: Planned) -> None:
        step = planned.step
        began = time.perf_counter()
        blocked = self._blocked(planned)
        try:
            if blocked:
                self._done(planned, "skipped", message=blocked)
            elif step.kind == "test":
                self._commit()
                self._test(planned, began)
            elif not planned.changed:
                self._done(planned, "unchanged", rows=planned.last.rows if planned.last else None)
            else:
                if planned.problem is not None:
                    raise planned.problem
                change = self._compute(planned)
                self._gather(planned, change, time.perf_counter() - began)
        except CuveeError as error:
            self.stopped[step.id] = f"{step.name} failed"
            self._done(planned, "error", seconds=time.perf_counter() - began, message=str(error))

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

    def _compute(self, planned: Planned) -> Change:
        step = planned.step
        relation = step.relation
        assert relation is not None and step.rendered is not None
        for hook in self._hooks(planned, "pre_hook"):
            with self.opened.lake.commit(f"build: pre-hook of {step.name}", author="cuvee build") as commit:
                commit.sql(hook)
        if step.kind == "seed":
            change = materialize.seed(self.cursor, self.staging, step, self.opened.root / step.node.path, relation)
        elif step.rendered.live:
            self.opened.database.refresh()
            rendered = self.opened.renderer.render_live(step.rendered)
            change = self._model(planned, _live(step, rendered, self.opened), relation)
        else:
            change = self._model(planned, step, relation)
        after = tuple(self._hooks(planned, "post_hook"))
        return replace(change, after=after)

    def _model(self, planned: Planned, step: graphs.Step, relation: Relation) -> Change:
        from warehouse import answers

        if step.kind == "view":
            answers.refuse_in_view(step, self.opened.functions)
            return materialize.view(self.cursor, step, relation)
        assert step.rendered is not None
        make = materialize.table
        if step.kind == "incremental" and self.opened.renderer.runs_incrementally(step.rendered):
            if planned.parts.partial and step.node.config.get("full_refresh") is False:
                hint = "build parts into another target: --target"
                raise BuildError(
                    f"{step.name} is never built from nothing (full_refresh: false), so a part cannot be added to it",
                    where=Location(step.node.path),
                    hint=hint,
                )
            make = incremental
        with answers.answered(self.opened, step, self.cursor, self.watcher) as ready:
            return make(self.cursor, self.staging, ready, relation)

    def _hooks(self, planned: Planned, name: str) -> list[str]:
        step = planned.step
        hooks = step.node.config.get(name) or []
        texts = [str(hook["sql"] if isinstance(hook, Mapping) else hook) for hook in hooks]
        rendered = (
            self.opened.renderer.hook(text, Location(step.node.path), {"this": step.relation}) for text in texts
        )
        return [text for text in rendered if text]

    def _run_hooks(self, name: str, hooks: Sequence[str]) -> None:
        """on-run-start and on-run-end: each statement is a commit of its own."""
        self.opened.database.refresh()
        schemas = sorted({each.step.relation.schema for each in self.plan if each.step.relation is not None})
        for text in hooks:
            names = {"schemas": schemas, "results": self.results}
            if statement := self.opened.renderer.hook(text, Location("dbt_project.yml"), names):
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
            state.write(commit, [row for _, _, row in pending])
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

    def _test(self, planned: Planned, began: float) -> None:
        if not planned.changed and planned.last is not None and "test" not in self.kinds:
            self._done(planned, "unchanged", rows=planned.last.rows, message=planned.last.status)
            return
        from warehouse import answers

        if planned.problem is not None:
            raise planned.problem
        answers.refuse_in_test(planned.step, self.opened.functions)
        verdict = checks.run(self.cursor, planned.step)
        seconds = time.perf_counter() - began
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
                state.write(commit, self.tested)

    def _done(
        self, planned: Planned, status: str, *, rows: int | None = None, seconds: float = 0.0, message: str = ""
    ) -> None:
        step = planned.step
        relation = step.relation.key if step.relation and step.kind != "test" else None
        result = Result(step.id, step.name, step.kind, status, relation, rows, seconds, message, time.time())
        self.results.append(result)
        self.watcher.finished(result)


def in_full(opened: Opened, step: graphs.Step) -> graphs.Step:
    """The step with the SQL by which it would be built from nothing now, its template having asked the database."""
    if step.rendered is None or not step.rendered.live:
        return step
    opened.renderer.anew.add(step.id)
    return _live(step, opened.renderer.render_live(step.rendered), opened)


def _live(step: graphs.Step, rendered: Any, opened: Opened) -> graphs.Step:
    """The step with the SQL that its template gives now that it may ask the database."""
    from dataclasses import replace

    nodes = {each.id: each.rendered for each in opened.graph.steps.values() if each.rendered is not None}
    sql, lines = graphs.compose(rendered, nodes)
    now = replace(step, rendered=rendered, sql=sql, lines=lines)
    return replace(now, tree=graphs.parse(now))


def _duckdb_error() -> type[Exception]:
    import duckdb

    return duckdb.Error
