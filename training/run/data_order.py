"""What a run read, in the order it read it, as Ettin's data order is released.

    <target>/<prefix>_000400/steps_000001_to_000100.parquet      step, input_ids: a row per sequence

A folder holds what the run read between two checkpoints and is called after the later one's batch. Steps are batches
that count from 1; within a step sequences are in the order of the ranks.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from training.checkpoint.quiet import silence
from training.recipe.exports import Export, stages_of
from udfs.errors import UsageError, did_you_mean
from warehouse.export.manifest import Manifest
from warehouse.lake.lake import Lake

#: Steps in one file.
STEPS = 100

SCHEMA = pa.schema([pa.field("step", pa.int64(), nullable=False), pa.field("input_ids", pa.list_(pa.int32()))])


def write(lake: Lake, run_id: str, target: Path, prefix: str | None = None) -> list[Path]:
    """Write what a finished run read into ``target``; the files, in order.

    ``prefix`` is ``checkpoint`` for a run that started from nothing and ``decay`` for an anneal, unless given. Raises
    UsageError if the lake has no such run, its export is gone or ``target`` has files already.
    """
    reader = lake.reader()
    row = reader.execute("select parent_run_id, config, export_id from runs.runs where run_id = ?", [run_id]).fetchone()
    if row is None:
        known = [name for (name,) in reader.execute("select run_id from runs.runs").fetchall()]
        raise UsageError(f"no finished run {run_id!r} in the lake", hint=did_you_mean(run_id, known))
    if target.exists() and any(target.iterdir()):
        raise UsageError(f"{target} is not empty", hint="name a new folder")
    prefix = prefix or ("checkpoint" if row[0] is None else "decay")
    stages = stages_of({"export": row[2], **json.loads(row[1])})
    paths = dict(reader.execute("select export_id, path from exports.exports order by exported_at").fetchall())
    if gone := [stage["export"] for stage in stages if stage["export"] not in paths]:
        raise UsageError(f"the lake does not know the export {gone[0]} any more, which {run_id} read")
    folders = [Path(paths[stage["export"]]) for stage in stages]
    exports = [Export(folder, Manifest.read(folder)) for folder in folders]
    bounds = reader.execute("select batch from runs.checkpoints where run_id = ? order by batch", [run_id]).fetchall()
    begins = [stage["from_batch"] for stage in stages]
    read: dict[int, list[tuple[int, int]]] = {}
    for batch, ids in reader.execute(
        "select batch, sample_ids from runs.batches where run_id = ? order by batch, rank", [run_id]
    ).fetchall():
        read.setdefault(batch, []).extend((bisect_right(begins, batch) - 1, sample) for sample in ids)
    return list(_files(exports, read, [bound for (bound,) in bounds], target / prefix))


def _files(
    exports: Sequence[Export], read: Mapping[int, list[tuple[int, int]]], bounds: list[int], prefix: Path
) -> Iterator[Path]:
    """Write the files. ``read`` are the samples of each batch: which of the ``exports``, and the sample's id in it."""
    silence()
    from training.run import data

    datasets = [data.all_samples(export) for export in exports]
    for begin, end in zip([0, *bounds], bounds, strict=False):
        for first in range(begin, end, STEPS):
            last = min(first + STEPS, end)
            folder = prefix.with_name(f"{prefix.name}_{end:06}")
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"steps_{first + 1:06}_to_{last:06}.parquet"
            rows: list[dict[str, Any]] = [
                {"step": step + 1, "input_ids": datasets[stage].get_item(sample)["input_ids"].astype("int32")}
                for step in range(first, last)
                for stage, sample in read[step]
            ]
            pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path, compression="zstd")
            yield path
