"""All that answering calls needs, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from warehouse.answers.answer_limits import AnswerLimits
from warehouse.graph.step import Step

if TYPE_CHECKING:
    from udfs.expensive import ExpensiveFunction
    from warehouse.graph import lineage
    from warehouse.lake.lake import Lake


@dataclass(frozen=True, slots=True)
class AnswerContext:
    """The lake, its functions, the limits of answering, and the project's steps."""

    lake: Lake
    functions: Mapping[str, ExpensiveFunction]
    limits: AnswerLimits
    schema: str  # of relations that SQL names without one
    steps: Mapping[str, Step]

    def models(self) -> lineage.Models:
        """Return a function that finds the syntax tree of the model behind a lake table.

        Incremental tables hold rows of older queries: they are not followed.
        """
        trees = {
            step.relation.key: step.tree
            for step in self.steps.values()
            if step.relation is not None and step.tree is not None and step.kind in ("view", "table")
        }
        return trees.get
