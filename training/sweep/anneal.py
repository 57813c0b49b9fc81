"""Train a sweep: the trunk, then every arm in every window with every seed from the trunk's checkpoints.

    <out>/trunk-17/             a folder per run; see training.run.trainer for what is in it
    <out>/control-1/            or control-w05-1 where there are windows: an anneal of 5% of the budget
    <out>/upsampled-1/ …

The same command continues where it was stopped, and does nothing when all runs are in the lake. A folder belongs to one
run. If the recipe or a mixture has changed since, that is an error: no run begins on one mixture and ends on another.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

from training.checkpoint import init_checkpoint
from training.checkpoint.quiet import silence
from training.recipe.configuration import RecipeError
from training.recipe.exports import MixtureChangedError, stages_of
from training.recipe.run_folders import alone, others, require_libraries
from training.run import distributed
from training.sweep import results
from training.sweep.plan import curve, origin_rate
from training.sweep.sweep import Run, Sweep
from warehouse.cli.output import Output
from warehouse.lake.lake import Lake


def anneal(sweep: Sweep, lake: Lake, out: Output) -> None:
    """Train what is not in the lake yet, and record each run when it is done.

    Raises CuveeError if the training libraries are missing or another process trains in the sweep's folder;
    MixtureChangedError or RecipeError if a run's folder holds another run; UsageError if there is no checkpoint
    to start from, or a schedule makes no sense.
    """
    recipe = sweep.recipe
    done = results.finished(lake, sweep.run_ids)
    todo = [run for run in sweep.runs if run.run_id not in done]
    if not todo:
        out.note(f"all {len(sweep.runs)} runs of {recipe.name} are in the lake already")
        return
    if recipe.start:
        init_checkpoint.check(sweep.origin, recipe)
    require_libraries()
    for run in sweep.runs:
        if run.variant:
            curve(sweep, run, origin_rate(sweep))
    if not distributed.is_rank_zero():
        out = replace(out, quiet=True)
    with alone(sweep.folder) if distributed.is_rank_zero() else contextlib.nullcontext():
        for run in sweep.runs:
            _check_folder(sweep, run)
        out.note(f"{recipe.name}: {len(todo)} runs, {sum(run.tokens for run in todo):,} tokens, in {sweep.folder}")
        silence()
        from training.sweep.train_runs import train_run, with_trunk

        todo = with_trunk(sweep, todo, out)
        distributed.init_distributed()
        for number, run in enumerate(todo, 1):
            train_run(sweep, run, lake, out, place=f"{number} of {len(todo)}")


def _check_folder(sweep: Sweep, run: Run) -> None:
    """Refuse a folder that holds another run."""
    folder = sweep.folder / run.label
    theirs = others(folder, run.run_id)
    if not theirs:
        return
    hint = f"finish or remove it, or train in another folder: --out {sweep.folder}-2"
    for was, now in zip(stages_of(theirs), stages_of(run.identity), strict=False):
        if was["mixture"] == now["mixture"] and was["export"] != now["export"]:
            raise MixtureChangedError(
                f"{folder} was begun on the mixture {was['mixture']} as export {was['export']}; the mixture has"
                f" changed: its latest export is {now['export']} in {sweep.exports[now['mixture']].folder}",
                hint=hint,
            )
    if theirs.get("held_out_export") != run.identity["held_out_export"]:
        raise MixtureChangedError(
            f"{folder} was begun with other held-out documents: their export is now {run.identity['held_out_export']}",
            hint=hint,
        )
    changed = [key for key in sorted({*theirs, *run.identity}) if theirs.get(key) != run.identity.get(key)]
    raise RecipeError(
        f"{folder} was begun with other settings of {', '.join(changed) or 'the recipe: its name'}", hint=hint
    )
