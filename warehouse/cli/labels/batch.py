"""cuvee batch: label by OpenAI's batch files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from warehouse.cli.output import Output, lake_option, open_lake, output_options, project_option
from warehouse.cli.project_options import retry_option
from warehouse.project.package import project_folders


@click.group()
def batch() -> None:
    """Label by OpenAI's batch files: write requests, have them answered elsewhere, read the responses.

    A service answers them, or vllm run-batch. To begin:

    cuvee batch write LABELER --out requests.jsonl
    """


@batch.command()
@click.argument("labeler")
@click.option(
    "--from",
    "source",
    default="raw.documents",
    show_default=True,
    metavar="MODEL|SQL",
    help="Which documents: a relation with a column doc_id.",
)
@click.option(
    "--out",
    "path",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The file of requests.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Up to N documents.")
@retry_option
@click.option("--split", type=click.IntRange(min=1), metavar="N", help="Up to N requests per file, numbered.")
@project_option
@lake_option
@output_options
def write(
    labeler: str,
    source: str,
    path: Path,
    limit: int | None,
    split: int | None,
    retry: str,
    project_dir: Path,
    lake_dir: Path | None,
    out: Output,
) -> None:
    """Write requests about the documents that LABELER has not answered.

    cuvee batch write mine --from train_documents --out requests.jsonl --split 50000
    """
    from warehouse.answers.budget import parse_statuses
    from warehouse.ingest.labels import batches

    asked = batches.labeler(project_folders(project_dir), labeler)
    options = batches.BatchOptions(limit, split, parse_statuses(retry) if retry else ())
    lake = open_lake(lake_dir)
    with out.progress("written", unit="documents") as progress:
        written = batches.write(lake, asked, source, path, options=options, progress=progress.advance)
    if out.as_json:
        out.json(asdict(written))
        return
    files = ", ".join(map(str, written.files)) or "no file"
    out.text(f"{written.requests:,} requests about {written.documents:,} documents in {files}")
    if written.answered or written.aside:
        out.note(f"{written.answered:,} were answered before, {written.aside:,} need no model")


@batch.command()
@click.argument("labeler")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
@project_option
@lake_option
@output_options
def read(labeler: str, files: tuple[Path, ...], project_dir: Path, lake_dir: Path | None, out: Output) -> None:
    """Store the responses to LABELER's requests, those that failed too.

    cuvee batch read mine responses.jsonl errors.jsonl
    """
    from warehouse.ingest.labels import batches

    asked = batches.labeler(project_folders(project_dir), labeler)
    lake = open_lake(lake_dir)
    with out.progress("read", unit="documents") as progress:
        found = batches.read(lake, asked, files, progress.advance)
    if out.as_json:
        out.json(asdict(found))
        return
    stored = ", ".join(f"{count:,} {status}" for status, count in sorted(found.statuses.items()))
    out.text(f"{sum(found.statuses.values()):,} answers stored" + (f": {stored}" if stored else ""))
    for count, what in (
        (found.answered, "documents had an answer"),
        (found.incomplete, "documents lack the answer to a pass"),
        (found.unknown, "documents are not in this lake"),
        (found.foreign, f"responses are to requests that {labeler}, as it is now, did not write"),
        (found.repeated, "responses are repeated"),
        (found.broken, f"lines are not responses, the first of them line {found.first_broken}"),
    ):
        if count:
            out.note(f"{count:,} {what}")
