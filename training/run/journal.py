"""Rows about a run's batches, on disk before the checkpoint that follows them.

    <run>/<name>/rank0-000000000000.parquet     rows of the batches from 0 on
    <run>/<name>/rank0-000000000200.parquet     rows of the batches from 200 on

Rows are kept in memory and written, one file each time, when a checkpoint is about to be written: so whatever a
checkpoint has behind it is on disk, and a run that resumes at batch k drops the files from k on and writes those rows
again. Files appear whole: a killed process leaves no half file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from composer.core import Callback, State, Timestamp
from composer.loggers import Logger
from composer.utils import dist

from udfs.atomic_files import write_atomically

#: Columns of runs.batches but the run's id.
BATCHES = pa.schema(
    [
        pa.field("batch", pa.int64(), nullable=False),
        pa.field("rank", pa.int64(), nullable=False),
        pa.field("sample_ids", pa.list_(pa.int64()), nullable=False),
    ]
)

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


class Journal(Callback):
    """An append-only table of one rank of one run; each row has a ``batch``."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder = folder
        self._schema = schema
        self._rank = dist.get_global_rank()
        self._rows: list[Mapping[str, Any]] = []
        self._next = self._end = 0  # the first batch of the rows in memory, and the one after the last

    def after_load(self, state: State, logger: Logger) -> None:
        """Drop what an interrupted run wrote beyond the checkpoint that training resumes from."""
        self._rows = []
        self._next = self._end = int(state.timestamp.batch)
        for path in self._folder.glob(f"rank{self._rank}-*"):
            if int(path.stem.rpartition("-")[2]) >= self._end:
                path.unlink()

    def batch_end(self, state: State, logger: Logger) -> None:
        """Remember where the next file begins."""
        self._end = int(state.timestamp.batch)

    def state_dict(self) -> dict[str, Any]:
        """Write rows to disk: a checkpoint is being made, and its batches' rows must be there before it."""
        self.flush()
        return {}

    def flush(self) -> None:
        """Write what is still in memory; rows of later batches will follow in another file."""
        if self._rows:
            content = pa.BufferOutputStream()
            pq.write_table(pa.Table.from_pylist(self._rows, self._schema), content, compression="zstd")
            path = self._folder / f"rank{self._rank}-{self._next:012}.parquet"
            write_atomically(path, content.getvalue().to_pybytes(), durable=True)
        self._rows, self._next = [], self._end


def read(folder: Path, schema: pa.Schema) -> pa.Table:
    """Return all rows on disk, of every rank, in the order of batches."""
    tables = [pq.read_table(path, schema=schema, partitioning=None) for path in sorted(folder.glob("rank*.parquet"))]
    return pa.concat_tables(tables).sort_by("batch") if tables else schema.empty_table()


class Provenance(Journal):
    """Keeps which samples each batch held, so that SQL can go from a batch to its documents and back.

    A row per batch and rank costs some 20 microseconds a batch: the ids ride along with the tokens.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, BATCHES)

    def batch_start(self, state: State, logger: Logger) -> None:
        """Note the samples of the batch that is about to be trained on. Batches count from 0."""
        ids = state.batch["sample_ids"].tolist()
        self._rows.append({"batch": int(state.timestamp.batch), "rank": self._rank, "sample_ids": ids})


class Measurements(Journal):
    """Keeps the loss and learning rate of every batch, and the held-out loss and accuracy of every component.

    ``batch`` and ``tokens`` count what was trained before: the loss of the first batch is at 0 and 0, and a
    held-out loss is where the checkpoint of the same weights is.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, METRICS)
        self._before = Timestamp()
        self._rate = 0.0

    def batch_start(self, state: State, logger: Logger) -> None:
        """Note the rate that this batch is trained with; at the batch's end the optimizer holds the next one."""
        self._before = state.timestamp
        self._rate = state.optimizers[0].param_groups[0]["lr"]

    def batch_end(self, state: State, logger: Logger) -> None:
        """Note the batch's loss and learning rate."""
        super().batch_end(state, logger)
        self._note(self._before, "train/loss", None, batch_loss(state))
        self._note(self._before, "train/learning_rate", None, self._rate)

    def eval_end(self, state: State, logger: Logger) -> None:
        """Note a component's held-out loss and accuracy. The evaluator's label is the component."""
        component = state.dataloader_label
        assert component is not None
        for metric in ("loss", "accuracy"):
            value = float(state.eval_metrics[component][metric].compute())
            self._note(state.timestamp, f"held_out/{metric}", component, value)

    def _note(self, time: Timestamp, name: str, component: str | None, value: float) -> None:
        if self._rank == 0:  # the values are those of all ranks
            place = {"batch": int(time.batch), "tokens": int(time.token)}
            self._rows.append({"name": name, "component": component, **place, "value": value})


def batch_loss(state: State) -> float:
    """Return the mean loss of the batch just trained on, over all ranks."""
    return float(state.total_loss_dict["loss/train/total"])
