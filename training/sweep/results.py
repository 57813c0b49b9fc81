"""Results in the lake: a finished run goes in with one commit, and the sweep's table comes out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol

from training.recipe.exports import Export, share
from training.recipe.recipe import Recipe
from warehouse.lake.lake import Lake

if TYPE_CHECKING:
    import pyarrow as pa

    from training.sweep.anneal import Run

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


def record(
    lake: Lake,
    run: Run,
    recipe: Settings,
    exports: Sequence[Export],
    folder: Path,
    started: datetime,
    facts: Mapping[str, Any],
) -> None:
    """Put a finished run into the lake: the run, its metrics, batches and checkpoints, all or nothing.

    ``facts`` stand beside its settings in runs.runs. Rows that the same run left before are replaced. The snapshot that
    its mixture was exported from is pinned, with stages each mixture's; the row names the last of these exports.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from training.checkpoint import checkpoints
    from training.run import journal, speed
    from training.run.measurements import METRICS
    from training.run.provenance import BATCHES

    states = checkpoints.saved(folder / "checkpoints")
    tables = {
        "runs.runs": _run_row(run, recipe, exports[-1], started, facts),
        "runs.metrics": pa.concat_tables(
            [
                journal.read(folder / "metrics", METRICS),
                pa.Table.from_pylist(
                    [
                        {"name": name, "component": None, "batch": run.steps, "tokens": run.tokens, "value": value}
                        for name, value in speed.read(folder).items()
                    ],
                    METRICS,
                ),
            ]
        ),
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
            for snapshot_id in {export.manifest.snapshot_id for export in exports}:
                commit.pin(holder, snapshot_id)


def _run_row(run: Run, recipe: Settings, export: Export, started: datetime, facts: Mapping[str, Any]) -> pa.Table:
    import pyarrow as pa

    moment = pa.timestamp("us", "UTC")
    config = pa.array([json.dumps({**run.identity, **facts}, sort_keys=True)], pa.string())
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
    """Columns and rows of the final table: a row per held-out component, in each window and at each learning rate.

    Per arm the component's share in what it reads and its loss, mean over the seeds; for every arm but the control the
    difference from the control and its spread, and for an arm without a component that from the whole arm, too.
    """
    from training.sweep.anneal import readings

    variants = recipe.variants
    arms = list(dict.fromkeys(variant.arm for variant in variants))
    against = [(arm, recipe.control) for arm in arms if arm != recipe.control]
    against += dict.fromkeys((one.arm, one.complete) for one in variants if one.complete not in (None, recipe.control))
    columns = [*(["window"] if recipe.windows else []), *(["learning rate"] if recipe.learning_rates else [])]
    columns += ["component", *(f"share {arm}" for arm in arms), *(["loss trunk"] if recipe.trunk else [])]
    columns += [f"loss {arm}" for arm in arms]
    columns += [
        column
        for arm, other in against
        for column in (f"{arm} - {other}", f"spread {arm}" + ("" if other == recipe.control else f" - {other}"))
    ]
    rows: list[tuple[Any, ...]] = []
    for window, rate in dict.fromkeys(variant.group for variant in variants):
        members = [run for run in sweep if run.variant and run.variant.group == (window, rate)]
        by_arm = {arm: [run for run in members if run.arm == arm] for arm in arms}
        for component in exports[recipe.evaluation.mixture].components:
            measured = {arm: [found[run.run_id][component] for run in own] for arm, own in by_arm.items()}
            row: list[Any] = [window] if recipe.windows else []
            row += [rate] if recipe.learning_rates else []
            row.append(component)
            row += [round(share(readings(own[0], exports), component), 4) if own else None for own in by_arm.values()]
            row += [found[sweep[0].run_id][component]] if recipe.trunk else []
            row += [fmean(values) if values else None for values in measured.values()]
            for arm, other in against:
                one = effect(measured[arm], measured[other]) if measured[arm] and measured[other] else None
                row += [one.mean, one.spread] if one else [None, None]
            rows.append(tuple(row))
    if not variants and recipe.trunk:
        columns = ["component", "loss trunk"]
        rows = list(found[sweep[0].run_id].items())
    return columns, rows
