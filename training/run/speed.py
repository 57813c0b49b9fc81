"""How fast a run trains: shown while it does, and kept with its memory, from which later plans tell the time."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from time import perf_counter

import torch
from composer.core import Callback, State
from composer.loggers import Logger

from training.run.journal import batch_loss
from warehouse.cli.output import Progress

FILE = "speed.json"

#: Batches that are not timed: memory is allocated, kernels are chosen.
WARMING = 3


class _Stopwatch(Callback):
    """Times batches, without evaluation and checkpoints."""

    def __init__(self) -> None:
        self._tokens = self._before = 0
        self._seconds = self._start = 0.0

    def batch_start(self, state: State, logger: Logger) -> None:
        """Start the clock."""
        self._before = int(state.timestamp.token)
        self._start = perf_counter()

    def _stop(self, state: State) -> int:
        """Add the batch, and return its tokens."""
        tokens = int(state.timestamp.token) - self._before
        self._tokens += tokens
        self._seconds += perf_counter() - self._start
        return tokens


class Meter(_Stopwatch):
    """Shows tokens, loss, speed and the time left while a run of ``total`` tokens trains."""

    def __init__(self, progress: Progress, total: int) -> None:
        super().__init__()
        self._progress = progress
        self._total = total

    def batch_end(self, state: State, logger: Logger) -> None:
        """Stop the clock and show."""
        tokens = self._stop(state)
        speed = self._tokens / self._seconds
        minutes, seconds = divmod(round((self._total - int(state.timestamp.token)) / speed), 60)
        left = f"{minutes}:{seconds:02} left"
        self._progress.advance(tokens, f"loss {batch_loss(state):.3f}, {speed:,.0f} tokens/s, {left}")


class Speed(_Stopwatch):
    """Writes ``speed.json`` when a run of ``last`` batches ends. After an interruption it is of the part since then."""

    def __init__(self, folder: Path, last: int) -> None:
        super().__init__()
        self._file = folder / FILE
        self._last = last
        self._seen = 0

    def batch_end(self, state: State, logger: Logger) -> None:
        """Stop the clock; with the last batch, write."""
        self._seen += 1
        if self._seen > WARMING:
            self._stop(state)
        if int(state.timestamp.batch) == self._last and self._seconds:
            values = {"speed/tokens_per_second": self._tokens / self._seconds, "speed/peak_bytes": _peak_bytes()}
            self._file.write_text(json.dumps(values), encoding="utf-8")


def _peak_bytes() -> float:
    """Return the most memory that this process had: on the GPU if it has one, else in RAM."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most if sys.platform == "darwin" else most * 1024)


def read(folder: Path) -> dict[str, float]:
    """Read the values of a run's folder, none if the run was too short to be timed."""
    path = folder / FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
