"""Select nodes of a project: by dbt's syntax, by selectors.yml, by their ids."""

from __future__ import annotations

from udfs.errors import UsageError
from warehouse.artifacts.comparison import comparison
from warehouse.graph import selectors
from warehouse.graph.loaded_project import LoadedProject
from warehouse.graph.selection import select
from warehouse.project.options import Selection


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
