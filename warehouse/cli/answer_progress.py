"""How far an expensive function has come: one line that changes on a terminal, else a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from warehouse.cli.plain import plain

if TYPE_CHECKING:
    from warehouse.answers.call_stats import CallStats
    from warehouse.cli.output import Output

#: Seconds between two lines of a log, and between two changes of a line on a terminal.
_LOG, _LIVE = 5.0, 0.25


class AnswerProgress:
    """The progress of one function at a time."""

    def __init__(self) -> None:
        self._status: Any = None

    def begin(self, out: Output) -> Callable[[CallStats], None]:
        """Return a function to call at each batch of answers; most calls cost 0.1 microseconds."""
        live = not out.quiet and sys.stderr.isatty()
        if live:
            from rich.console import Console
            from rich.status import Status
            from rich.text import Text

            self._status = Status("", console=Console(stderr=True, highlight=False))
            self._status.start()
        pause = _LIVE if live else _LOG
        last = time.monotonic()

        def show(tally: CallStats) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= pause:
                last = now
                if self._status is None:
                    out.note(f"      {tally.line()}")
                else:
                    self._status.update(Text(plain(tally.line())))  # brackets in a title are not markup

        return show

    def say(self, out: Output, line: str) -> None:
        """Print a line next to the progress: above the line that changes, if there is one."""
        if self._status is None:
            out.note(line)
        else:
            self._status.console.print(plain(line), markup=False)

    def end(self) -> None:
        """Stop showing progress: nothing is answered any more."""
        if self._status is not None:
            self._status.stop()
            self._status = None
