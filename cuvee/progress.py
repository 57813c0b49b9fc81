"""How far a build and its answers have come: a plain line every few seconds, in a notebook as in a log."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from warehouse.answers.call_stats import CallStats
from warehouse.build.execution.build_run import BuildCallback

if TYPE_CHECKING:
    from warehouse.build.plan import Plan
    from warehouse.cli.output import Output
    from warehouse.project.results import NodeResult

#: Seconds between two lines.
_PAUSE = 5.0


class BuildProgress(BuildCallback):
    """Notes how many nodes are done and how many answers have come, and each warning. Errors are for the caller."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._total = self._done = 0
        self._last = monotonic()

    def started(self, plan: Plan) -> None:
        self._total, self._last = sum(1 for _ in plan), monotonic()

    def finished(self, result: NodeResult) -> None:
        self._done += 1
        if result.status == "warn":
            self._out.note(f"warning: {result.name}: {result.message}")
        self._note(lambda: f"build: {self._done} of {self._total} nodes, {result.name}")

    def answering(self, stats: CallStats) -> Callable[[CallStats], None]:
        self._note(lambda: f"{stats.title}: {stats.missing:,} to answer, {stats.reused:,} answered before")
        return lambda tally: self._note(tally.line)

    def say(self, line: str) -> None:
        self._out.note(line)

    def _note(self, line: Callable[[], str]) -> None:
        if (now := monotonic()) - self._last >= _PAUSE:
            self._last = now
            self._out.note(line())
