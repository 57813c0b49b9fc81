"""Ctrl-C while functions answer: once to finish what is in flight, twice to stop at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interruption:
    """Within this context the first SIGINT only sets ``asked``; a second one does what SIGINT did before.

    Signals reach Python's main thread only: in another one the context changes nothing.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._before: Any = None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.asked.is_set():
            self.asked.set()
        elif callable(self._before):
            self._before(number, frame)
        else:
            raise KeyboardInterrupt
