"""Build a project into a lake: seeds and models in dependency order, each tested before anything reads it.

    files → Project → render → parse → Graph → Plan → materialize → test → state

``open_project`` does the first four steps, ``plan`` the fifth, ``build`` the rest. A killed build leaves every
relation in its last good version; the next one continues behind what was committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warehouse.answers.calls import calls
from warehouse.artifacts import manifest
from warehouse.artifacts.invocation import invocation, unless_unwritable, write_run_results
from warehouse.build import build_cache, state
from warehouse.build import plan as plans
from warehouse.build.build_cache import BuildCache, CacheKey
from warehouse.build.build_options import BUILD_DEFAULTS, BuildOptions
from warehouse.build.coverage import coverage
from warehouse.build.execution.build_run import BuildCallback, BuildLock, BuildRun
from warehouse.build.execution.execution import Execution
from warehouse.build.materialize import microbatch
from warehouse.build.node_selection import deferred, selected_nodes
from warehouse.build.plan import Plan, Planned
from warehouse.build.tests.checks import all_kept_failures
from warehouse.graph.graph import Graph
from warehouse.graph.loaded_project import LoadedProject, open_project
from warehouse.graph.parsing import table_names
from warehouse.lake.catalog import versions
from warehouse.project.batches import is_microbatch
from warehouse.project.options import EVERYTHING, Selection
from warehouse.project.results import TESTS, NodeResult

if TYPE_CHECKING:
    import duckdb

    from udfs.expensive import ExpensiveFunction
    from warehouse.lake.lake import Lake


def plan(project: LoadedProject, selection: Selection = EVERYTHING) -> Plan:
    """Plan a build of the selection: what it would do, and why. Changes nothing."""
    selected = selected_nodes(project, selection)
    project.database.refresh()
    basis = plans.PlanBasis(
        built=state.read(project.database.cursor),
        relations=project.database.relations,
        functions=project.functions,
        view_tables=_view_tables(project, project.database.cursor),
        full_refresh=project.options.full_refresh,
        partial=project.renderer.sample.words if project.renderer.sample else "",
        deferred=project.renderer.deferred,
        kept=all_kept_failures(project),
        until=_until(project),
    )
    return plans.make(project.graph, selected, basis)


def _until(opened: LoadedProject) -> dict[str, str]:
    """Return the time up to which each microbatch model would be built now."""
    between, now = microbatch.times(opened.options), opened.renderer.started
    models = {key: step.node for key, step in opened.graph.steps.items() if is_microbatch(step.node)}
    return {key: microbatch.until(node, now, between) for key, node in models.items()}


def touched(graph: Graph, planned: Planned) -> list[str]:
    """Return all nodes that are built from a node, directly or not, in the order of building."""
    below = graph.descendants(planned.step.id)
    return [key for key in graph.order() if key in below and graph.steps[key].kind not in (*TESTS, "exposure")]


def _view_tables(opened: LoadedProject, cursor: duckdb.DuckDBPyConnection) -> dict[str, tuple[str, ...]]:
    """Return the tables below each lake view that models read but the project does not build."""
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
    selection: Selection = EVERYTHING,
    options: BuildOptions = BUILD_DEFAULTS,
    *,
    functions: Mapping[str, ExpensiveFunction] | None = None,
    callback: BuildCallback | None = None,
) -> list[NodeResult]:
    """Build what is selected and changed, test it, and return the result of each node.

    The selection's ``kinds`` narrow it to kinds of nodes (``test``: run tests, all of them, build nothing). Two builds
    on one lake: the second waits for the first, unless that one waits for answers: then they share those. Raises
    ProjectErrors before anything is built if the project has mistakes; a failing model or test raises nothing, it is
    among the results.
    """
    callback = callback or BuildCallback()
    files = build_cache.digest(root) if root.is_dir() else ""
    with BuildLock(lake, callback.say) as lock:
        project = open_project(lake, root, options, functions=functions, say=callback.say)
        project = deferred(project, selection)
        planned = plan(project, selection)
        project.renderer.selected = tuple(each.step.id for each in planned)
        callback.started(planned)
        with lake.staging() as staging, _recorded(project, planned, callback, selection) as results:
            run = BuildRun(
                project=project,
                plan=planned,
                kinds=selection.kinds,
                limits=options.limits,
                callback=callback,
                results=results,
                staging=staging,
                lock=lock,
            )
            Execution(run).run()
        if any(result.status == "built" for result in results) and (seen := coverage(project)) is not None:
            callback.covered(seen)
        cache = BuildCache(lake, root, selection, options)
        if functions is None and cache.holds_again and _may_be_kept(project, planned, selection, results):
            cache.save(_cache_key(project, planned, results), results, files)
        return results


def _may_be_kept(project: LoadedProject, planned: Plan, selection: Selection, results: Sequence[NodeResult]) -> bool:
    """Return whether the same build would find the same: whole, without hooks, batches of time and failures."""
    declared = project.renderer.project
    return not (
        selection.kinds
        or selection.only is not None
        or declared.on_run_start
        or declared.on_run_end
        or any(is_microbatch(each.step.node) for each in planned)
        or any(result.status in ("fail", "error", "limited", "skipped") for result in results)
    )


def _cache_key(opened: LoadedProject, plan: Plan, results: Sequence[NodeResult]) -> build_cache.CacheKey:
    """Return the cache key of a build: inputs as they were planned with, built tables as they are now."""
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
    return CacheKey(dict(opened.renderer.env_vars), tuple(sorted(called, key=repr)), found)


@contextmanager
def _recorded(
    project: LoadedProject, plan: Plan, callback: BuildCallback, selection: Selection
) -> Iterator[list[NodeResult]]:
    """Give the list of a build's results. However the build ends, its results go into dbt's artifacts."""
    results: list[NodeResult] = []
    kinds = selection.kinds
    which = {"model": "run"}.get(kinds[0], kinds[0]) if kinds else "build"
    call = invocation(which, project.root, selection, project.options)
    with unless_unwritable(callback.say):
        manifest.write_manifest(project, call)
    try:
        yield results
    finally:
        done = {result.node for result in results}
        due = [each.step.id for each in plan if not kinds or each.step.node.kind in kinds]
        with unless_unwritable(callback.say):
            write_run_results(call, results, project.graph.steps, [key for key in due if key not in done])
