"""Build a project into a lake: seeds and models in dependency order, each tested before anything reads it.

    files → Project → render → parse → Graph → Plan → materialize → test → state

``open_project`` does the first four steps, ``plan`` the fifth, ``build`` the rest. A killed build leaves every
relation in its last good version; the next one continues behind what was committed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warehouse.answers.calls import calls
from warehouse.artifacts import artifacts, manifest
from warehouse.build import build_cache, state
from warehouse.build import plan as plans
from warehouse.build.build_lock import Turn
from warehouse.build.deferral import deferred
from warehouse.build.execution import Execution
from warehouse.build.materialize import microbatch
from warehouse.build.plan import Plan, Planned
from warehouse.build.tests import stored_failures
from warehouse.graph.graph import Graph
from warehouse.graph.loaded_project import Opened, open_project
from warehouse.graph.parsing import table_names
from warehouse.lake.versions import versions
from warehouse.project.outcome import DEFAULTS, TESTS, Options, Result, Watcher

if TYPE_CHECKING:
    import duckdb

    from udfs.expensive import ExpensiveFunction
    from warehouse.lake.lake import Lake


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
        kept=stored_failures.places(opened),
        until=_until(opened),
    )


def _until(opened: Opened) -> dict[str, str]:
    """Up to which time each microbatch model would be built now."""
    between, now = microbatch.times(opened.options), opened.renderer.started
    models = {key: step.node for key, step in opened.graph.steps.items() if microbatch.is_microbatch(step.node)}
    return {key: microbatch.until(node, now, between) for key, node in models.items()}


def touched(graph: Graph, planned: Planned) -> list[str]:
    """What is built of a node, directly or not, in the order of building."""
    below = graph.descendants(planned.step.id)
    return [key for key in graph.order() if key in below and graph.steps[key].kind not in (*TESTS, "exposure")]


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
        found[name] = tuple(dict.fromkeys(table_names(query, schema))) if query is not None else ()
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

    ``kinds`` narrows the selection to kinds of nodes (``test``: run tests, all of them, build nothing). ``only``
    are the ids of the nodes to build of those that were selected in an earlier build. Two builds on one lake: the
    second waits for the first, unless that one waits for answers: then they share those. Raises ProjectErrors
    before anything is built if the project has mistakes; a failing model or test raises nothing, it is among the
    results.
    """
    watcher = watcher or Watcher()
    registered = functions is None
    files = build_cache.digest(root) if root.is_dir() else ""
    with Turn(lake, watcher.say) as turn:
        opened = open_project(lake, root, options, functions=functions, say=watcher.say)
        opened = deferred(opened, chosen, excluded, only)
        planned = plan(opened, chosen, excluded, kinds=kinds, only=only)
        opened.renderer.selected = tuple(each.step.id for each in planned)
        watcher.started(planned)
        with lake.staging() as staging, _recorded(opened, planned, watcher, kinds, (chosen, excluded)) as results:
            Execution(opened, planned, staging, watcher, kinds, results, turn).run()
        hooks = opened.renderer.project.on_run_start or opened.renderer.project.on_run_end
        if (
            registered
            and not kinds
            and only is None
            and not hooks
            and not any(microbatch.is_microbatch(each.step.node) for each in planned)
            and build_cache.holds_again(options)
            and not any(result.status in ("fail", "error", "limited", "skipped") for result in results)
        ):
            ground = _ground(opened, planned, results)
            build_cache.remember(lake, root, chosen, excluded, options, ground, results, files)
        return results


def _ground(opened: Opened, plan: Plan, results: Sequence[Result]) -> build_cache.Ground:
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
    return build_cache.Ground(dict(opened.renderer.env_vars), tuple(sorted(called, key=repr)), found)


@contextmanager
def _recorded(
    opened: Opened, plan: Plan, watcher: Watcher, kinds: Sequence[str], asked: tuple[Sequence[str], Sequence[str]]
) -> Iterator[list[Result]]:
    """The list of a build's results; however the build ends, dbt's artifacts tell of it."""
    results: list[Result] = []
    which = {"model": "run"}.get(kinds[0], kinds[0]) if kinds else "build"
    call = artifacts.invocation(which, opened.root, *asked, opened.options, kinds)
    with artifacts.unless_unwritable(watcher.say):
        manifest.write_manifest(opened, call)
    try:
        yield results
    finally:
        done = {result.node for result in results}
        due = [each.step.id for each in plan if not kinds or each.step.node.kind in kinds]
        with artifacts.unless_unwritable(watcher.say):
            artifacts.write_run_results(call, results, opened.graph.steps, [key for key in due if key not in done])
