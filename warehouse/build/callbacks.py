"""Progress events of a build."""

from __future__ import annotations

from warehouse.answers.callback import AnswerCallback
from warehouse.build.plan import Plan
from warehouse.project.results import NodeResult


class BuildCallback(AnswerCallback):
    """Receives the progress events of a build. The base class ignores them."""

    def started(self, plan: Plan) -> None:
        """Receive the plan, before anything is built."""

    def finished(self, result: NodeResult) -> None:
        """Receive the result of a node that is done."""
