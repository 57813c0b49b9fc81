"""What is measured while a run trains: loss, learning rate, held-out loss per component; and the line that shows it."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow as pa
from composer.core import Callback, State, Timestamp
from composer.loggers import Logger
from composer.utils import dist

from training.run.journal import Journal
from warehouse.cli.output import Progress

#: Columns of runs.metrics but the run's id.
METRICS = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("component", pa.string()),
        pa.field("batch", pa.int64(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
    ]
)

TRAIN_LOSS = "train/loss"
LEARNING_RATE = "train/learning_rate"
HELD_OUT_LOSS = "held_out/loss"
HELD_OUT_ACCURACY = "held_out/accuracy"


class Measurements(Callback):
    """Writes the metrics of every batch and evaluation.

    ``batch`` and ``tokens`` count what was trained before: the loss of the first batch is at 0 and 0, and a
    held-out loss is where the checkpoint of the same weights is.
    """

    def __init__(self, folder: Path) -> None:
        self._journal = Journal(folder, METRICS)
        self._writes = dist.get_global_rank() == 0  # the values are those of all ranks
        self._end = 0
        self._before = Timestamp()
        self._rate = 0.0

    def after_load(self, state: State, logger: Logger) -> None:
        """Drop what an interrupted run wrote beyond the checkpoint that training resumes from."""
        self._end = int(state.timestamp.batch)
        if self._writes:
            self._journal.rewind(self._end)

    def batch_start(self, state: State, logger: Logger) -> None:
        """Note the rate that this batch is trained with; at the batch's end the optimizer holds the next one."""
        self._before = state.timestamp
        self._rate = state.optimizers[0].param_groups[0]["lr"]

    def batch_end(self, state: State, logger: Logger) -> None:
        """Note the batch's loss and learning rate."""
        self._end = int(state.timestamp.batch)
        self._note(self._before, TRAIN_LOSS, None, batch_loss(state))
        self._note(self._before, LEARNING_RATE, None, self._rate)

    def eval_end(self, state: State, logger: Logger) -> None:
        """Note a component's held-out loss and accuracy. The evaluator's label is the component."""
        component = state.dataloader_label
        assert component is not None
        for name, metric in ((HELD_OUT_LOSS, "loss"), (HELD_OUT_ACCURACY, "accuracy")):
            self._note(state.timestamp, name, component, float(state.eval_metrics[component][metric].compute()))

    def state_dict(self) -> dict[str, Any]:
        """Write rows to disk: a checkpoint is being made, and its batches' rows must be there before it."""
        self.flush()
        return {}

    def flush(self) -> None:
        """Write what is still in memory."""
        self._journal.flush(self._end)

    def _note(self, time: Timestamp, name: str, component: str | None, value: float) -> None:
        if not self._writes:
            return
        self._journal.append(
            {
                "name": name,
                "component": component,
                "batch": int(time.batch),
                "tokens": int(time.token),
                "value": value,
            }
        )


class Meter(Callback):
    """Shows tokens, loss, speed and the time left while a run of ``total`` tokens trains."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._before = 0
        self._tokens = 0
        self._spent = 0.0
        self._start = 0.0

    def batch_start(self, state: State, logger: Logger) -> None:
        """Start the clock: evaluation and checkpoints do not count."""
        self._before = int(state.timestamp.token)
        self._start = perf_counter()

    def batch_end(self, state: State, logger: Logger) -> None:
        """Stop the clock and show."""
        tokens = int(state.timestamp.token) - self._before
        self._tokens += tokens
        self._spent += perf_counter() - self._start
        speed = self._tokens / self._spent
        left = (self._total - int(state.timestamp.token)) / speed
        self._progress.advance(tokens, f"loss {batch_loss(state):.3f}, {speed:,.0f} tokens/s, {_clock(left)} left")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


def batch_loss(state: State) -> float:
    """Return the mean loss of the batch just trained on, over all ranks."""
    return float(state.total_loss_dict["loss/train/total"])
