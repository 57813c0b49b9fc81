"""``--defer``: read nodes that are not selected and not built in this target from an older state."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from udfs.errors import UsageError
from warehouse.artifacts.comparison import comparison
from warehouse.build.node_selection import selected_nodes
from warehouse.graph.loaded_project import open_project
from warehouse.project.options import EVERYTHING, Selection

if TYPE_CHECKING:
    from warehouse.graph.loaded_project import LoadedProject


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
