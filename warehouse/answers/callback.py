"""Progress events while expensive functions answer."""

from __future__ import annotations

from collections.abc import Callable

from warehouse.answers.call_stats import CallStats


class AnswerCallback:
    """Receives progress events while functions answer. The base class ignores them."""

    def answering(self, tally: CallStats) -> Callable[[CallStats], None]:
        """Receive a call that is about to be answered; return what receives its figures at each batch of answers."""
        return lambda tally: None

    def answered(self, tally: CallStats) -> None:
        """Receive the figures of a call that has been answered, or was stopped."""

    def say(self, line: str) -> None:
        """Receive a line worth knowing."""
