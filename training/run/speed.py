"""How fast a run trained and how much memory it took, from which later plans tell the time."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from time import perf_counter

import torch
from composer.core import Callback, State
from composer.loggers import Logger

FILE = "speed.json"

#: Batches that are not timed: memory is allocated, kernels are chosen.
WARMING = 3


class Speed(Callback):
    """Times batches, without evaluation and checkpoints, and writes ``speed.json`` when a run of ``last`` batches ends.

    A run that went on after an interruption tells the part since then.
    """

    def __init__(self, folder: Path, last: int) -> None:
        self._file = folder / FILE
        self._last = last
        self._seen = 0
        self._tokens = 0
        self._seconds = 0.0
        self._before = 0
        self._start = 0.0

    def batch_start(self, state: State, logger: Logger) -> None:
        """Start the clock."""
        self._before = int(state.timestamp.token)
        self._start = perf_counter()

    def batch_end(self, state: State, logger: Logger) -> None:
        """Stop the clock; with the last batch, write."""
        self._seen += 1
        if self._seen > WARMING:
            self._tokens += int(state.timestamp.token) - self._before
            self._seconds += perf_counter() - self._start
        if int(state.timestamp.batch) == self._last and self._seconds:
            values = {"speed/tokens_per_second": self._tokens / self._seconds, "speed/peak_bytes": peak_bytes()}
            self._file.write_text(json.dumps(values), encoding="utf-8")


def peak_bytes() -> float:
    """Return the most memory that this process had: on the GPU if it has one, else in RAM."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most if sys.platform == "darwin" else most * 1024)


def read(folder: Path) -> dict[str, float]:
    """Read the values of a run's folder, none if the run was too short to be timed."""
    path = folder / FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
