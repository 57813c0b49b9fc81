"""cuvee checkpoint."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from training.cli.options import trust_option
from warehouse.cli.output import Output, lake_option, open_lake, output_options


@click.group()
def checkpoint() -> None:
    """Use what training has saved."""


@checkpoint.command(name="export")
@click.argument("source", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("target", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--without-tokenizer", is_flag=True, help="Write the model alone.")
@click.option("--without-head", is_flag=True, help="Write the model below the head for tokens: vectors, and vLLM.")
@trust_option
@lake_option
@output_options
def export_checkpoint(
    source: Path,
    target: Path,
    without_tokenizer: bool,
    without_head: bool,
    trust: bool,
    lake_dir: Path | None,
    out: Output,
) -> None:
    """Write a checkpoint as a folder that transformers loads, with tokenizer and model card.

    RUN is a run's folder (its last checkpoint is taken) or one of its .pt files.

        cuvee checkpoint export runs/demo/upsampled-1 models/upsampled
    """
    from training.checkpoint.huggingface import export

    parts = {"with_tokenizer": not without_tokenizer, "with_head": not without_head}
    done = export(source, target, open_lake(lake_dir), **parts, trust=trust)
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
@trust_option
@lake_option
@output_options
def evaluate_checkpoint(
    source: Path,
    files: tuple[Path, ...],
    shots: int,
    limit: int | None,
    trust: bool,
    lake_dir: Path | None,
    out: Output,
) -> None:
    """Ask a checkpoint the questions of benchmark files, through lm-eval, and record its scores in runs.metrics.

    A FILE is JSON lines (query, choices, gold; or another of llm-foundry's forms), and its name is the task's.

        cuvee checkpoint evaluate runs/demo/upsampled-1 arc_easy.jsonl piqa.jsonl
    """
    from training.checkpoint.benchmarks import evaluate

    scores = evaluate(source, files, open_lake(lake_dir), shots=shots, limit=limit, trust=trust)
    out.rows(
        ("task", "questions", "accuracy", "by length"),
        [(score.task, score.questions, score.accuracy, score.by_length) for score in scores],
    )
