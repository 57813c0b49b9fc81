"""Train the runs of a sweep one after the other. Loads torch: import it after training.checkpoint.quiet.silence."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter

from training.checkpoint import checkpoints, init_checkpoint
from training.recipe.run_folders import write_run_metadata
from training.run import distributed
from training.run.run import Job, train
from training.sweep import results
from training.sweep.record import FinishedRun, record
from training.sweep.sweep import Run, Sweep
from udfs.errors import UsageError
from warehouse.cli.output import Output
from warehouse.lake.lake import Lake


def with_trunk(sweep: Sweep, todo: list[Run], out: Output) -> list[Run]:
    """Return the runs to train, with the trunk first if checkpoints are gone that others start from.

    Raises UsageError if the trunk is beyond a checkpoint that it does not have.
    """
    if not sweep.recipe.trunk:
        return todo
    trunk = sweep.folder / sweep.runs[0].label
    found = {batch for batch, _ in checkpoints.saved(trunk / "checkpoints")}
    missing = [run.start for run in todo if run.variant and run.start not in found]
    if missing and max(found, default=0) > min(missing):
        raise UsageError(
            f"{trunk} has no checkpoint at batch {min(missing):,}, where a window begins, and is beyond it",
            hint=f"train in another folder: --out {sweep.folder}-2",
        )
    if missing and sweep.runs[0] not in todo:
        out.note(f"the trunk's checkpoints are gone from {trunk}: it is trained again")
        return [sweep.runs[0], *todo]
    return todo


def train_run(sweep: Sweep, run: Run, lake: Lake, out: Output, *, place: str) -> None:
    """Train a run to its end and record it in the lake. ``place`` is its number among all, as a text."""
    recipe = sweep.recipe
    folder = sweep.folder / run.label
    before = sweep.tokens_before(run)
    leads = distributed.is_rank_zero()
    started = write_run_metadata(folder, run.run_id, run.identity, before) if leads else datetime.now(UTC)
    clock = perf_counter()
    job = _job(sweep, run)
    own = replace(recipe, anneal=recipe.anneal_of(run.variant)) if run.variant else recipe
    with out.progress(f"{recipe.name}: {run.label} ({place})", run.tokens, "tokens") as progress:
        try:
            train(job, own, progress)
        except KeyboardInterrupt:
            out.note(f"{run.label} is saved; the same command goes on from there")
            raise
    distributed.barrier()  # the rows of all processes are on disk
    if not leads:
        return
    exports = tuple(one.export for one in job.readings)
    parameters = sweep.parameters()
    facts = {
        "tokens_before": before,
        "parameters": parameters.total,
        "parameters_without_embeddings": parameters.without_embeddings,
        **({"control": recipe.control, "complete": run.variant.complete} if run.variant else {}),
    }
    record(lake, FinishedRun(run=run, recipe=recipe.name, exports=exports, folder=folder, started=started, facts=facts))
    losses = results.losses(lake, [run.run_id])[run.run_id]
    shown = ", ".join(f"{component} {loss:.3f}" for component, loss in losses.items())
    out.note(f"{run.label}: {run.tokens:,} tokens in {perf_counter() - clock:.0f} s; held-out loss {shown}")


def _job(sweep: Sweep, run: Run) -> Job:
    recipe = sweep.recipe
    start = sweep.origin.path if sweep.origin else None
    if start is None and recipe.trunk and run.variant:
        start = init_checkpoint.at(sweep.folder / sweep.runs[0].label, run.start)
    return Job(
        folder=sweep.folder / run.label,
        readings=sweep.readings(run),
        held_out=sweep.held_out,
        steps=run.steps,
        seed=run.seed,
        start=start,
        optimizer=recipe.start is None or recipe.start.optimizer,
        trust=sweep.trust,
        marks=() if run.variant else tuple(sorted({other.start for other in sweep.runs if other.variant})),
    )
