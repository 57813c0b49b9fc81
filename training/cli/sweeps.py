"""cuvee anneal and cuvee checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from warehouse.cli.output import Output, lake_option, open_lake, output_options

if TYPE_CHECKING:
    from training.checkpoint.init_checkpoint import Origin
    from training.recipe.exports import Export
    from training.recipe.recipe import Recipe
    from training.sweep.anneal import Run
    from training.sweep.plan import Cost, PlannedCurve


recipe_argument = click.argument("recipe_path", metavar="RECIPE", type=click.Path(path_type=Path))
folder_option = click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for checkpoints and logs  [default: runs/<name of the recipe>]",
)


@click.command()
@recipe_argument
@folder_option
@click.option("--plan", "only_plan", is_flag=True, help="Print tokens, steps, epochs and FLOPs; train nothing.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting: anneal.tokens=200k")
@lake_option
@output_options
def anneal(
    recipe_path: Path,
    folder: Path | None,
    only_plan: bool,
    settings: tuple[str, ...],
    lake_dir: Path | None,
    out: Output,
) -> None:
    """Train a trunk and anneal it on mixtures, each beside a control, and compare them on held-out documents.

    Mixtures are read from their latest exports. The same command continues what was stopped, and does nothing but
    print the table when all is done.

        cuvee anneal training/recipes/demo.yaml --plan
    """
    from training.checkpoint import init_checkpoint
    from training.recipe import exports
    from training.recipe.recipe import read_recipe
    from training.run import distributed
    from training.sweep import results
    from training.sweep.anneal import anneal as train
    from training.sweep.anneal import runs

    recipe = read_recipe(recipe_path, settings)
    lake = open_lake(lake_dir)
    found = exports.find(lake, recipe)
    origin = init_checkpoint.find(recipe.start) if recipe.start else None
    sweep = runs(recipe, found, origin)
    folder = folder or Path("runs") / recipe.name
    if only_plan:
        from training.sweep.plan import plan

        done = results.finished(lake, [run.run_id for run in sweep])
        _show_plan(plan(recipe, sweep, found, origin, lake, done, folder), out)
        if recipe.start and origin is None:
            out.note(f"no checkpoint in {recipe.start.checkpoint} yet: its learning rate and tokens are not known")
        return
    train(recipe, lake, found, origin, folder, out)
    if not distributed.first():
        return
    columns, rows = results.table(recipe, sweep, found, results.losses(lake, [run.run_id for run in sweep]))
    out.rows(columns, rows, title=f"{recipe.name}: held-out loss, nats per token")
    if not recipe.arms:
        return
    out.note(
        f"losses and differences are means over {len(recipe.seeds)} seeds (orders of the data); a difference compares"
        " runs with the same seed, and its spread is the largest less the smallest"
    )
    if len(recipe.variants) > 1:
        from training.sweep.picture import draw

        out.note(f"{recipe.name}: the differences as a picture are in {draw(recipe, columns, rows, folder)}")
        _note_cost(recipe, sweep, found, origin, out)


@click.group()
def checkpoint() -> None:
    """Use what training has saved."""


@checkpoint.command(name="export")
@click.argument("source", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("target", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--without-tokenizer", is_flag=True, help="Write the model alone.")
@click.option("--without-head", is_flag=True, help="Write what the head for tokens stands on: vectors, and vLLM.")
@lake_option
@output_options
def export_checkpoint(
    source: Path, target: Path, without_tokenizer: bool, without_head: bool, lake_dir: Path | None, out: Output
) -> None:
    """Write a checkpoint as a folder that transformers loads, with tokenizer and model card.

    RUN is a run's folder (its last checkpoint is taken) or one of its .pt files.

        cuvee checkpoint export runs/demo/upsampled-1 models/upsampled
    """
    from training.checkpoint.huggingface import export

    done = export(source, target, open_lake(lake_dir), with_tokenizer=not without_tokenizer, with_head=not without_head)
    if out.as_json:
        out.json({**asdict(done), "folder": str(done.folder)})
        return
    out.text(
        f"{done.architecture} of {done.run_id} after {done.tokens:,} tokens, {done.parameters:,} parameters,"
        f" in {done.folder}"
    )


@checkpoint.command(name="order")
@click.argument("run_id", metavar="RUN_ID")
@click.argument("target", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--prefix", metavar="NAME", help="What the folders are called  [default: checkpoint, or decay]")
@lake_option
@output_options
def write_order(run_id: str, target: Path, prefix: str | None, lake_dir: Path | None, out: Output) -> None:
    """Write the tokens a run read, in order, as Parquet files (step, input_ids) between its checkpoints.

    RUN_ID is one of runs.runs. The layout is that of Ettin's released data order.

        cuvee checkpoint order demo-trunk-17-0123456789ab data-order
    """
    from training.run.data_order import write

    files = write(open_lake(lake_dir), run_id, target, prefix)
    if out.as_json:
        out.json([str(path) for path in files])
        return
    out.text(f"{len(files)} files in {target}")


@checkpoint.command(name="evaluate")
@click.argument("source", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--shots", default=0, show_default=True, metavar="N", help="Solved questions before each.")
@click.option("--limit", type=int, metavar="N", help="Ask the first N questions of a file.")
@lake_option
@output_options
def evaluate_checkpoint(
    source: Path, files: tuple[Path, ...], shots: int, limit: int | None, lake_dir: Path | None, out: Output
) -> None:
    """Ask a checkpoint the questions of benchmark files, through lm-eval, and record its scores in runs.metrics.

    A FILE is JSON lines (query, choices, gold; or another of llm-foundry's forms), and its name is the task's.

        cuvee checkpoint evaluate runs/demo/upsampled-1 arc_easy.jsonl piqa.jsonl
    """
    from training.checkpoint.benchmarks import evaluate

    scores = evaluate(source, files, open_lake(lake_dir), shots=shots, limit=limit)
    out.rows(
        ("task", "questions", "accuracy", "by length"),
        [(score.task, score.questions, score.accuracy, score.by_length) for score in scores],
    )


def _show_plan(planned: object, out: Output) -> None:
    from training.sweep.plan import CHINCHILLA, Plan

    assert isinstance(planned, Plan)
    if out.as_json:
        out.json(asdict(planned))
        return
    counts = planned.parameters
    out.text(f"{counts.total:,} parameters, {counts.without_embeddings:,} without the embeddings")
    whole = planned.cost
    out.text(
        f"{whole.tokens_per_parameter:.1f} tokens per parameter; Chinchilla's {CHINCHILLA} would be"
        f" {whole.chinchilla_tokens:,} tokens"
    )
    out.text(_cost_line(whole))
    if planned.memory is not None:
        kind = "measured" if planned.speed and planned.speed.same else "estimated"
        out.text(f"memory: {planned.memory / 2**30:.2f} GiB, {kind}")
    if planned.speed:
        total = sum(run.seconds or 0 for run in planned.runs if run.status != "done")
        how = "on" if planned.speed.same else "by FLOPs from"
        out.text(
            f"time: {_time(total)} for what is to train, at {planned.speed.tokens_per_second:,.0f} tokens/s,"
            f" measured {how} {planned.speed.run}"
        )
    else:
        out.text("time: no run of this precision has been measured yet")
    out.rows(
        ("run", "mixture", "tokens", "steps", "passes", "FLOPs", "without embeddings", "time", "status"),
        [
            (
                run.run,
                run.mixture,
                f"{run.tokens:,}",
                run.steps,
                run.passes,
                f"{run.flops:.2e}",
                f"{run.flops_without_embeddings:.2e}",
                "?" if run.seconds is None else _time(run.seconds),
                run.status,
            )
            for run in planned.runs
        ],
        title="runs; a pass is once through the export",
    )
    out.rows(
        ("arm", "component", "share", "tokens", "epochs"),
        [(one.arm, one.component, one.share, f"{one.tokens:,}", one.epochs) for one in planned.components],
        title="what each arm reads",
    )
    for curve in planned.curves:
        origin = ", from the checkpoint" if curve.source == "checkpoint" else ""
        out.rows(
            ("tokens", "learning rate", ""),
            [(f"{tokens:,}", f"{rate:.3e}", _bar(rate, planned.curves)) for tokens, rate in curve.points[::10]],
            title=f"learning rate of the {curve.run}{origin}",
        )


def _bar(rate: float, curves: Sequence[PlannedCurve]) -> str:
    highest = max(rate for curve in curves for _, rate in curve.points) or 1.0
    return "█" * round(30 * rate / highest)


def _note_cost(
    recipe: Recipe, sweep: Sequence[Run], exports: Mapping[str, Export], origin: Origin | None, out: Output
) -> None:
    from training.checkpoint.models import count, model_vocabulary
    from training.sweep.plan import cost

    parameters = count(recipe.model, model_vocabulary(recipe, exports[recipe.evaluation.mixture].vocabulary))
    out.note(f"{recipe.name}: {_cost_line(cost(recipe, sweep, parameters, origin))}")


def _cost_line(whole: Cost) -> str:
    return (
        f"{whole.tokens:,} tokens, {whole.flops:.2e} FLOPs (6ND;"
        f" without embeddings {whole.flops_without_embeddings:.2e});"
        f" each arm trained in full: {whole.full_runs_tokens:,} tokens, {whole.full_runs_flops:.2e} FLOPs,"
        f" {whole.saving:.1f} times as much"
    )


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
