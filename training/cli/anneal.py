"""cuvee anneal."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.cli.options import folder_option, recipe_argument, show_curve, trust_option
from warehouse.cli.output import Output, lake_option, open_lake, output_options

if TYPE_CHECKING:
    from training.sweep.plan import SweepCost, TrainingPlan
    from training.sweep.sweep import Sweep
    from warehouse.lake.lake import Lake


@click.command()
@recipe_argument
@folder_option
@click.option("--plan", "only_plan", is_flag=True, help="Print tokens, steps, epochs and FLOPs; train nothing.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting: anneal.tokens=200k")
@trust_option
@lake_option
@output_options
def anneal(
    recipe_path: Path,
    folder: Path | None,
    only_plan: bool,
    settings: tuple[str, ...],
    trust: bool,
    lake_dir: Path | None,
    out: Output,
) -> None:
    """Train a trunk and anneal it on mixtures, each with a control, and compare them on held-out documents.

    Mixtures are read from their latest exports. The same command continues what was stopped, and does nothing but
    print the table when all is done.

        cuvee anneal recipes/first_anneal.yaml --plan
    """
    from training.checkpoint import init_checkpoint
    from training.recipe import exports
    from training.recipe.recipe import read_recipe
    from training.run import distributed
    from training.sweep.anneal import anneal as train
    from training.sweep.plan import plan
    from training.sweep.sweep import make_sweep

    recipe = read_recipe(recipe_path, settings)
    lake = open_lake(lake_dir)
    found = exports.find(lake, recipe)
    origin = init_checkpoint.find(recipe.start) if recipe.start else None
    sweep = make_sweep(recipe, found, folder or Path("runs") / recipe.name, origin, trust=trust)
    if only_plan:
        _show_plan(plan(sweep, lake), out)
        if recipe.start and origin is None:
            out.note(f"no checkpoint in {recipe.start.checkpoint} yet: its learning rate and tokens are not known")
        return
    train(sweep, lake, out)
    if distributed.is_rank_zero():
        _show_results(sweep, lake, out)


def _show_results(sweep: Sweep, lake: Lake, out: Output) -> None:
    from training.sweep import results
    from training.sweep.plan import cost

    recipe = sweep.recipe
    columns, rows = results.table(sweep, results.losses(lake, sweep.run_ids))
    out.rows(columns, rows, title=f"{recipe.name}: held-out loss, nats per token")
    if not recipe.arms:
        return
    out.note(
        f"losses and differences are means over {len(recipe.seeds)} seeds (orders of the data); a difference compares"
        " runs with the same seed, its spread is the largest less the smallest, its interval ± the mean's 95 % interval"
        " (Student's t): gained and lost are where zero is outside of it"
    )
    if len(recipe.variants) > 1:
        picture = results.draw(recipe, columns, rows, sweep.folder)
        out.note(f"{recipe.name}: the differences as a picture are in {picture}")
        out.note(f"{recipe.name}: {_cost_line(cost(sweep, sweep.parameters()))}")


def _show_plan(planned: TrainingPlan, out: Output) -> None:
    if out.as_json:
        out.json(asdict(planned))
        return
    _show_totals(planned, out)
    rows = [
        (
            run.run, run.mixture, f"{run.tokens:,}", run.steps, run.passes, f"{run.flops:.2e}",
            f"{run.flops_without_embeddings:.2e}", "?" if run.seconds is None else _time(run.seconds), run.status,
        )
        for run in planned.runs
    ]  # fmt: skip
    out.rows(
        ("run", "mixture", "tokens", "steps", "passes", "FLOPs", "without embeddings", "time", "status"),
        rows,
        title="runs; a pass is once through the export",
    )
    out.rows(
        ("arm", "component", "share", "tokens", "epochs"),
        [(one.arm, one.component, one.share, f"{one.tokens:,}", one.epochs) for one in planned.components],
        title="what each arm reads",
    )
    for one in planned.components:
        if one.too_often:
            out.text(
                f"warning: {one.arm} sees {one.component} {one.epochs:.2f} times; its mixture allows"
                f" {one.max_epochs:g} (max_epochs): train on fewer tokens, or make the mixture larger"
            )
    highest = max((rate for curve in planned.curves for _, rate in curve.points), default=0.0)
    for curve in planned.curves:
        origin = ", from the checkpoint" if curve.source == "checkpoint" else ""
        show_curve(curve.points, highest, f"learning rate of the {curve.run}{origin}", out)


def _show_totals(planned: TrainingPlan, out: Output) -> None:
    from training.sweep.plan import CHINCHILLA

    counts, whole, speed = planned.parameters, planned.cost, planned.speed
    out.text(f"{counts.total:,} parameters, {counts.without_embeddings:,} without the embeddings")
    out.text(
        f"{whole.tokens_per_parameter:.1f} tokens per parameter; Chinchilla's {CHINCHILLA} would be"
        f" {whole.chinchilla_tokens:,} tokens"
    )
    out.text(_cost_line(whole))
    if planned.memory is not None:
        out.text(f"memory: {planned.memory / 2**30:.2f} GiB, {'measured' if speed and speed.same else 'estimated'}")
    if speed is None:
        out.text("time: no run of this precision has been measured yet")
        return
    total = sum(run.seconds or 0 for run in planned.runs if run.status != "done")
    out.text(
        f"time: {_time(total)} for what is to train, at {speed.tokens_per_second:,.0f} tokens/s,"
        f" measured {'on' if speed.same else 'by FLOPs from'} {speed.run}"
    )


def _cost_line(whole: SweepCost) -> str:
    return (
        f"{whole.tokens:,} tokens, {whole.flops:.2e} FLOPs (6ND;"
        f" without embeddings {whole.flops_without_embeddings:.2e});"
        f" each arm trained in full: {whole.full_runs_tokens:,} tokens, {whole.full_runs_flops:.2e} FLOPs,"
        f" {whole.saving:.1f} times as much"
    )


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
