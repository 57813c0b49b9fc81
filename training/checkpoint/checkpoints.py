"""Saving and finding a run's states.

    <run>/checkpoints/ba000000000200.pt

The content is Composer's own. The file is written aside and renamed, so a name is a whole checkpoint: Composer's saver
writes in place and then replaces a ``latest`` link in two steps, and a process killed in between leaves no way back.
"""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from composer.core import Callback, State
from composer.loggers import Logger
from composer.utils import dist
from composer.utils.checkpoint import save_checkpoint

from training.checkpoint.init_checkpoint import at


class Saver(Callback):
    """Saves the state every ``every`` batches, at ``marks``, at the end, and when asked to stop.

    Marks stay, whatever ``keep`` says. Ctrl-C and SIGTERM let the current batch finish, save, and end training with
    KeyboardInterrupt; a second one stops at once.
    """

    def __init__(self, folder: Path, every: int | None, last: int, keep: int | None, marks: tuple[int, ...]) -> None:
        self._folder = folder
        self._marks = frozenset(marks)
        self._every = every
        self._last = last
        self._keep = keep
        self._stop = False
        self._handlers: dict[int, Any] = {}

    def fit_start(self, state: State, logger: Logger) -> None:
        """Take over the signals that mean stop."""
        if threading.current_thread() is not threading.main_thread():
            return  # only the main thread may handle signals
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._asked)

    def batch_checkpoint(self, state: State, logger: Logger) -> None:
        """Save if it is time."""
        batch = int(state.timestamp.batch)
        if dist.get_world_size() > 1:  # all stop at the same batch: a signal reaches them at different moments
            stop = state.device.tensor_to_device(torch.tensor(int(self._stop)))
            dist.all_reduce(stop, reduce_operation="MAX")
            self._stop = bool(stop)
        timely = batch in self._marks or (self._every and batch % self._every == 0)
        if self._stop or batch == self._last or timely:
            self._save(state)
        if self._stop:
            raise KeyboardInterrupt

    def fit_end(self, state: State, logger: Logger) -> None:
        """Give the signals back: what follows training can be stopped at any point."""
        self.close(state, logger)
        if self._stop:
            raise KeyboardInterrupt

    def close(self, state: State, logger: Logger) -> None:
        """Give the signals back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self._stop:
            raise KeyboardInterrupt
        self._stop = True

    def _save(self, state: State) -> None:
        """Write the checkpoint of the batch; of the older ones, the last ``keep`` and marks stay."""
        path = at(self._folder.parent, int(state.timestamp.batch))
        aside = path.with_suffix(".part")
        save_checkpoint(state, str(aside))
        if dist.get_global_rank() == 0:
            aside.rename(path)
            others = [old for batch, old in saved(self._folder) if batch not in self._marks]
            for old in others[: -self._keep] if self._keep else ():
                old.unlink()
        dist.barrier()


def saved(folder: Path) -> list[tuple[int, Path]]:
    """Return all checkpoints of a run with their batches, oldest first."""
    return [(int(path.stem.removeprefix("ba")), path) for path in sorted(folder.glob("ba*.pt"))]
