"""``--defer``: what is not selected and not built in this target is read where an older state has it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from udfs.errors import UsageError
from warehouse.artifacts.comparison import comparison
from warehouse.graph.loaded_project import open_project

if TYPE_CHECKING:
    from warehouse.graph.loaded_project import Opened


def deferred(
    opened: Opened,
    chosen: Sequence[str] = (),
    excluded: Sequence[str] = (),
    only: Collection[str] | None = None,
) -> Opened:
    """The project with its refs to unselected nodes deferred, if the options say so; else ``opened`` as it is.

    A node is read where the older state has it if this target has no relation of it; with ``favor_state`` even if it
    has one. Raises UsageError without a state, StateError if that has no manifest.
    """
    options = opened.options
    if not options.defer:
        return opened
    older = comparison(opened)
    if older is None:
        raise UsageError("--defer needs the state to defer to", hint="name it: --state DIR")
    selected = opened.select(chosen, excluded) if only is None else set(only)
    elsewhere = {}
    for key, relation in older.relations.items():
        step = opened.graph.steps.get(key)
        if step is None or key in selected or step.relation is None or step.relation.is_cte:
            continue
        here = step.relation.key in opened.database.relations
        if relation.key != step.relation.key and (options.favor_state or not here):
            elsewhere[key] = relation
    say = opened.renderer.say
    return open_project(opened.lake, opened.root, options, functions=opened.functions, say=say, deferred=elsewhere)
