"""All that one run through a plan needs, as one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from warehouse.answers.answer_limits import AnswerLimits
from warehouse.answers.context import AnswerContext
from warehouse.build.callbacks import BuildCallback
from warehouse.build.plan import Plan, Planned
from warehouse.graph.loaded_project import LoadedProject
from warehouse.project.results import NodeResult

if TYPE_CHECKING:
    from warehouse.build.execution.build_lock import BuildLock
    from warehouse.lake.commit import Staging


@dataclass(frozen=True, slots=True)
class BuildRun:
    """One run of a plan: its project, its callback and its results so far."""

    project: LoadedProject
    plan: Plan
    kinds: Sequence[str]
    limits: AnswerLimits
    callback: BuildCallback
    results: list[NodeResult]
    staging: Staging
    lock: BuildLock

    def due(self, group: Sequence[Planned]) -> list[Planned]:
        """Return the nodes of a group that are of the kinds to build."""
        return [each for each in group if not self.kinds or each.step.node.kind in self.kinds]


def answer_context(project: LoadedProject, limits: AnswerLimits) -> AnswerContext:
    """Return the context in which a project's calls are answered."""
    return AnswerContext(
        lake=project.lake,
        functions=project.functions,
        limits=limits,
        schema=project.renderer.target.schema,
        steps=project.graph.steps,
    )
