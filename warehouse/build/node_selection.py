"""Select nodes of a project, by dbt's syntax, by selectors.yml or by their ids, and defer the others (``--defer``)."""

from __future__ import annotations

from dataclasses import replace

from udfs.errors import UsageError
from warehouse.artifacts.comparison import comparison
from warehouse.graph import selectors
from warehouse.graph.loaded_project import LoadedProject, open_project
from warehouse.graph.selection import select
from warehouse.project.options import EVERYTHING, Selection


def selected_nodes(opened: LoadedProject, selection: Selection) -> set[str]:
    """Return the ids of the selected nodes. Raises SelectionError.

    A selection that names nothing is the selector that the options name, else the project's default one.
    """
    graph = opened.graph
    if selection.only is not None:
        found = set(selection.only) & set(graph.steps)
    elif selection.select or selection.exclude:
        if opened.options.selector is not None:
            raise UsageError("--selector excludes --select and --exclude", hint="put them into the selector")
        found = select(graph, selection.select, selection.exclude, comparison(opened))
    else:
        known = selectors.load(opened.root)
        name = opened.options.selector or selectors.default(known)
        older = comparison(opened)
        found = select(graph, (), (), older) if name is None else selectors.select(graph, known, name, older)
    return {key for key in found if not selection.kinds or graph.steps[key].node.kind in selection.kinds}


def deferred(project: LoadedProject, selection: Selection = EVERYTHING) -> LoadedProject:
    """Return the project with its refs to unselected nodes deferred, if the options say so; else ``project`` itself.

    A node is read where the older state has it if this target has no relation of it; with ``favor_state`` even if it
    has one. Raises UsageError without a state, or if that has no manifest.
    """
    options = project.options
    if not options.defer:
        return project
    older = comparison(project)
    if older is None:
        raise UsageError("--defer needs the state to defer to", hint="name it: --state DIR")
    selected = selected_nodes(project, replace(selection, kinds=()))
    elsewhere = {}
    for key, relation in older.relations.items():
        step = project.graph.steps.get(key)
        if step is None or key in selected or step.relation is None or step.relation.is_cte:
            continue
        here = step.relation.key in project.database.relations
        if relation.key != step.relation.key and (options.favor_state or not here):
            elsewhere[key] = relation
    say = project.renderer.say
    return open_project(project.lake, project.root, options, functions=project.functions, say=say, deferred=elsewhere)
