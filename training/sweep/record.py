"""A finished run in the lake: one commit with its settings, metrics, batches and checkpoints. Loads torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from training.checkpoint import checkpoints
from training.recipe.exports import Export
from training.run import journal, speed
from training.run.journal import BATCHES, METRICS
from training.sweep.sweep import Run
from warehouse.lake.lake import Lake

_MOMENT = pa.timestamp("us", "UTC")


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run of a recipe (its name) that has ended in ``folder``; ``facts`` are recorded next to its settings."""

    run: Run
    recipe: str
    exports: Sequence[Export]
    folder: Path
    started: datetime
    facts: Mapping[str, Any]


def record(lake: Lake, finished: FinishedRun) -> None:
    """Put a finished run into the lake: the run, its metrics, batches and checkpoints, all or nothing.

    Rows that the same run left before are replaced. The snapshot that its mixture was exported from is pinned, with
    stages each mixture's; the row names the last of these exports.
    """
    run_id = finished.run.run_id
    tables = {
        "runs.runs": _run(finished),
        "runs.metrics": _metrics(finished),
        "runs.batches": journal.read(finished.folder / "batches", BATCHES),
        "runs.checkpoints": _checkpoints(finished),
    }
    with lake.staging() as staging:
        files: dict[str, Path] = {}
        for name, rows in tables.items():
            if rows.num_rows:
                files[name] = staging.file(name)
                run_ids = pa.array([run_id] * rows.num_rows, pa.string())
                pq.write_table(rows.add_column(0, "run_id", run_ids), files[name], compression="zstd")
        with lake.commit(f"run {run_id}", author="cuvee anneal") as commit:
            for name in tables:
                commit.sql(f"delete from {name} where run_id = ?", [run_id])
                if name in files:
                    commit.add(name, [files[name]])
            holder = f"run {run_id}"
            commit.sql("delete from cuvee.pins where holder = ?", [holder])
            for snapshot_id in {export.manifest.snapshot_id for export in finished.exports}:
                commit.pin(holder, snapshot_id)


def _run(finished: FinishedRun) -> pa.Table:
    run, manifest = finished.run, finished.exports[-1].manifest
    config = pa.array([json.dumps({**run.identity, **finished.facts}, sort_keys=True)], pa.string())
    return pa.table(
        {
            "recipe": [finished.recipe],
            "arm": [run.arm],
            "seed": pa.array([run.seed], pa.int64()),
            "parent_run_id": pa.array([run.parent], pa.string()),
            "mixture": [run.mixture],
            "export_id": [manifest.export_id],
            "snapshot_id": pa.array([manifest.snapshot_id], pa.int64()),
            "tokens": pa.array([run.tokens], pa.int64()),
            "config": pa.ExtensionArray.from_storage(pa.json_(), config),
            "started_at": pa.array([finished.started], _MOMENT),
            "finished_at": pa.array([datetime.now(UTC)], _MOMENT),
        }
    )


def _metrics(finished: FinishedRun) -> pa.Table:
    end = {"component": None, "batch": finished.run.steps, "tokens": finished.run.tokens}
    speeds = [{**end, "name": name, "value": value} for name, value in speed.read(finished.folder).items()]
    return pa.concat_tables([journal.read(finished.folder / "metrics", METRICS), pa.Table.from_pylist(speeds, METRICS)])


def _checkpoints(finished: FinishedRun) -> pa.Table:
    batch_tokens = finished.run.tokens // finished.run.steps
    saved = checkpoints.saved(finished.folder / "checkpoints")
    times = [datetime.fromtimestamp(path.stat().st_mtime, UTC) for _, path in saved]
    return pa.table(
        {
            "batch": pa.array([batch for batch, _ in saved], pa.int64()),
            "tokens": pa.array([batch * batch_tokens for batch, _ in saved], pa.int64()),
            "path": pa.array([str(path.resolve()) for _, path in saved], pa.string()),
            "saved_at": pa.array(times, _MOMENT),
        }
    )
