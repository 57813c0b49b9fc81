"""Results in the lake: a finished run goes in with one commit, and the sweep's table comes out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol

from training.exports import Export
from training.recipe import Recipe
from warehouse.lake import Lake

if TYPE_CHECKING:
    import pyarrow as pa

    from training.anneal import Run

TABLES = ("runs.runs", "runs.metrics", "runs.batches", "runs.checkpoints")


class Settings(Protocol):
    """What the rows of a run need of its recipe, whatever kind of recipe it is."""

    @property
    def name(self) -> str:
        """The recipe's name."""

    @property
    def batch_tokens(self) -> int:
        """Tokens in a batch."""


def finished(lake: Lake, run_ids: Sequence[str]) -> set[str]:
    """Those of the runs that are in the lake."""
    rows = lake.reader().execute("select run_id from runs.runs where run_id in (select unnest(?))", [list(run_ids)])
    return {row[0] for row in rows.fetchall()}


def losses(lake: Lake, run_ids: Sequence[str]) -> dict[str, dict[str, float]]:
    """The last held-out loss per run and component, in nats per token."""
    rows = lake.reader().execute(
        "select run_id, component, arg_max(value, batch) from runs.metrics"
        " where name = 'held_out/loss' and run_id in (select unnest(?)) group by all order by 1, 2",
        [list(run_ids)],
    )
    found: dict[str, dict[str, float]] = {}
    for run_id, component, value in rows.fetchall():
        found.setdefault(run_id, {})[component] = value
    return found


def record(lake: Lake, run: Run, recipe: Settings, export: Export, folder: Path, started: datetime) -> None:
    """Put a finished run into the lake: the run, its metrics, batches and checkpoints, all or nothing.

    Rows that the same run left before are replaced. The snapshot that its mixture was exported from is pinned.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from training import checkpoints, journal
    from training.measurements import METRICS
    from training.provenance import BATCHES

    states = checkpoints.saved(folder / "checkpoints")
    tables = {
        "runs.runs": _run_row(run, recipe, export, started),
        "runs.metrics": journal.read(folder / "metrics", METRICS),
        "runs.batches": journal.read(folder / "batches", BATCHES),
        "runs.checkpoints": pa.table(
            {
                "batch": pa.array([batch for batch, _ in states], pa.int64()),
                "tokens": pa.array([batch * recipe.batch_tokens for batch, _ in states], pa.int64()),
                "path": pa.array([str(path.resolve()) for _, path in states], pa.string()),
                "saved_at": pa.array(
                    [datetime.fromtimestamp(path.stat().st_mtime, UTC) for _, path in states],
                    pa.timestamp("us", "UTC"),
                ),
            }
        ),
    }
    with lake.staging() as staging:
        files: dict[str, Path] = {}
        for name, rows in tables.items():
            if rows.num_rows:
                files[name] = staging.file(name)
                run_ids = pa.array([run.run_id] * rows.num_rows, pa.string())
                pq.write_table(rows.add_column(0, "run_id", run_ids), files[name], compression="zstd")
        with lake.commit(f"run {run.run_id}", author="cuvee anneal") as commit:
            for name in TABLES:
                commit.sql(f"delete from {name} where run_id = ?", [run.run_id])
                if name in files:
                    commit.add(name, [files[name]])
            holder = f"run {run.run_id}"
            commit.sql("delete from cuvee.pins where holder = ?", [holder])
            commit.pin(holder, export.manifest.snapshot_id)


def _run_row(run: Run, recipe: Settings, export: Export, started: datetime) -> pa.Table:
    import pyarrow as pa

    moment = pa.timestamp("us", "UTC")
    config = pa.array([json.dumps(run.identity, sort_keys=True)], pa.string())
    return pa.table(
        {
            "recipe": [recipe.name],
            "arm": [run.arm],
            "seed": pa.array([run.seed], pa.int64()),
            "parent_run_id": pa.array([run.parent], pa.string()),
            "mixture": [run.mixture],
            "export_id": [export.manifest.export_id],
            "snapshot_id": pa.array([export.manifest.snapshot_id], pa.int64()),
            "tokens": pa.array([run.tokens], pa.int64()),
            "config": pa.ExtensionArray.from_storage(pa.json_(), config),
            "started_at": pa.array([started], moment),
            "finished_at": pa.array([datetime.now(UTC)], moment),
        }
    )


@dataclass(frozen=True, slots=True)
class Effect:
    """What an arm did to one component, against the control with the same seed.

    ``mean`` over the seeds; ``spread`` is the largest less the smallest.
    """

    mean: float
    spread: float


def effect(arm: Sequence[float], control: Sequence[float]) -> Effect:
    """Compare losses of an arm with those of the control, both in the order of the seeds."""
    differences = [ours - theirs for ours, theirs in zip(arm, control, strict=True)]
    return Effect(fmean(differences), max(differences) - min(differences))


def table(
    recipe: Recipe, sweep: Sequence[Run], exports: Mapping[str, Export], found: Mapping[str, Mapping[str, float]]
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Columns and rows of the final table, a row per held-out component.

    Per arm the component's share in its mixture and its loss, mean over the seeds; for every arm but the control the
    difference from the control and its spread.
    """
    by_arm = {arm: [run for run in sweep if run.arm == arm] for arm in recipe.arms}
    others = [arm for arm in recipe.arms if arm != recipe.control]
    columns = ["component", *(f"share {arm}" for arm in recipe.arms), "loss trunk"]
    columns += [f"loss {arm}" for arm in recipe.arms]
    columns += [column for arm in others for column in (f"{arm} - {recipe.control}", f"spread {arm}")]
    rows: list[tuple[Any, ...]] = []
    for component in exports[recipe.evaluation.mixture].components:
        measured = {arm: [found[run.run_id][component] for run in by_arm[arm]] for arm in recipe.arms}
        effects = [effect(measured[arm], measured[recipe.control]) for arm in others]
        rows.append(
            (
                component,
                *(round(exports[mixture].share(component), 4) for mixture in recipe.arms.values()),
                found[sweep[0].run_id][component],
                *(fmean(values) for values in measured.values()),
                *(value for one in effects for value in (one.mean, one.spread)),
            )
        )
    return columns, rows
