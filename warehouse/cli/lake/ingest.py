"""cuvee ingest."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from udfs.amounts import parse_bytes
from udfs.errors import CuveeError, UsageError
from warehouse.cli.output import Output, lake_option, open_lake, output_options, project_option

if TYPE_CHECKING:
    from warehouse.ingest.run import IngestReport

#: So many files are listed one by one; of more, only those that need attention.
_LISTED = 20

_OUTCOMES = {
    "unchanged": "already in the lake",
    "touched": "already in the lake under another time of change",
    "copy": "copies of files that are in the lake",
    "elsewhere": "ingested by another process meanwhile",
    "unreadable": "could not be opened",
}


class _Size(click.ParamType[int]):
    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            size = int(parse_bytes(str(value)))
        except (ValueError, OverflowError):
            size = 0
        if size < 1:
            self.fail(f"{value!r} is not a valid size; write 30MB or 2GB", param, ctx)
        return size


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH…")
@click.option("--source", metavar="NAME", help="Source of all documents  [default: the record's, else the file's name]")
@click.option("--text-field", default="text", show_default=True, metavar="F", help="Field of the text; a.b nests.")
@click.option("--id-field", default="id", show_default=True, metavar="F", help="Field of the source's own id.")
@click.option("--url-field", default="url", show_default=True, metavar="F", help="Field of the URL.")
@click.option("--tokenizer", metavar="NAME|DIR", help="Makes text of MDS samples that are tokens only.")
@click.option("--strict", is_flag=True, help="Stop at the first record that cannot be read, with exit code 1.")
@click.option("--environment", is_flag=True, help="Also read the files of the installed Python packages.")
@click.option("--limit-bytes", type=_Size(), metavar="SIZE", help="With --environment: at most this much, e.g. 30MB.")
@click.option("--labels", is_flag=True, help="The files hold labels of documents, not documents.")
@click.option("--labeler", metavar="NAME", help="With --labels: who gave them; the name is new to the project.")
@click.option("--taxonomy", metavar="NAME", help="With --labels: whose categories they are of.  [default: eai]")
@project_option
@lake_option
@output_options
def ingest(
    paths: tuple[str, ...],
    source: str | None,
    text_field: str,
    id_field: str,
    url_field: str,
    tokenizer: str | None,
    strict: bool,
    environment: bool,
    limit_bytes: int | None,
    labels: bool,
    labeler: str | None,
    taxonomy: str | None,
    project_dir: Path,
    lake_dir: Path | None,
    out: Output,
) -> None:
    """Read documents, or labels of documents, from files, folders and globs into the lake.

    JSONL and JSON (plain, gz, zst), Parquet, MDS folders, WARC, WET and ARC, text, Markdown and source files are told
    by their content. Files that the lake has are not read again. Records that cannot be read go to raw.rejects.
    URLs such as hf://datasets/NAME/folder or s3://… are downloaded for as long as they are read.

    Labels (Parquet, CSV, JSONL) land in labels.<taxonomy> as those of a labeler of their own. A row names its document
    by doc_id, text, url or id, and has a column per category, or category, rank and code.

        cuvee ingest data/*.jsonl.gz papers/ --source papers
        cuvee ingest --labels people.csv --labeler people
    """
    if not paths and not environment:
        raise UsageError("nothing to ingest", hint="name files, folders or globs, or use --environment")
    if limit_bytes is not None and not environment:
        raise UsageError("--limit-bytes bounds --environment only")
    for option, name in (("--text-field", text_field), ("--id-field", id_field), ("--url-field", url_field)):
        if not name:
            raise UsageError(f"{option} is empty", hint="name a field of the records")
    if labels and environment:
        raise UsageError("--environment has no labels")
    if labels != (labeler is not None) or (taxonomy is not None and not labels):
        raise UsageError("--labels needs --labeler NAME, and --labeler and --taxonomy need --labels")

    from udfs.tokens.tokenizer import find as find_tokenizer
    from warehouse.ingest.inputs import environment_inputs, find_inputs
    from warehouse.ingest.records import IngestOptions, source_name
    from warehouse.ingest.run import ingest as run
    from warehouse.lake.remote import is_url

    if source is not None and source_name(source) is None:
        raise UsageError(f"{source!r} cannot be a source", hint="it names a folder: up to 240 bytes, and not NULL")
    lake = open_lake(lake_dir)
    options = IngestOptions(source, text_field=text_field, id_field=id_field, url_field=url_field, strict=strict)
    if labeler is not None:
        from warehouse.cli.labels.ingest_labels import new_labeler
        from warehouse.cli.labels.ingest_labels import run as run_labels

        return run_labels(lake, find_inputs(paths), new_labeler(project_dir, labeler, taxonomy), options, out)
    with ExitStack() as stack:
        downloads = stack.enter_context(lake.staging()).folder if any(map(is_url, paths)) else None
        inputs = find_inputs(paths, downloads)
        if environment:
            out.note("looking through the installed packages")
            inputs += environment_inputs(limit_bytes)
        total = sum(entry.path.stat().st_size for entry in inputs if entry.path.is_file()) / 1e6
        if tokenizer:
            options = replace(options, tokenizer=find_tokenizer(tokenizer, lake.root / "tokenizers", Path()))
        with out.progress("ingesting", total, "MB") as progress:
            report = run(lake, inputs, options, lambda size, name: progress.advance(size / 1e6, name))
    _print(report, out)
    if unreadable := [file for file in report.files if file.outcome == "unreadable"]:
        raise CuveeError(f"{len(unreadable)} files could not be read; first {unreadable[0].path}: {unreadable[0].note}")
    return None


def _print(report: IngestReport, out: Output) -> None:
    if out.as_json:
        out.json(
            {
                "ingested": report.count("ingested"),
                "known": report.count("unchanged", "touched", "copy", "elsewhere"),
                "unreadable": report.count("unreadable"),
                "occurrences": report.rows,
                "documents": report.documents,
                "rejected": report.rejected,
                "forgotten": report.forgotten,
                "reasons": dict(report.reasons.most_common()),
                "files": [
                    {
                        "path": file.path,
                        "outcome": file.outcome,
                        "format": file.format,
                        "rows": file.rows,
                        "duplicates": file.duplicates,
                        "rejected": file.rejected,
                        "note": file.note,
                    }
                    for file in report.files
                ],
            }
        )
        return
    ingested = [file for file in report.files if file.outcome == "ingested"]
    if 0 < len(ingested) <= _LISTED:
        out.rows(
            ("file", "format", "records", "duplicates", "rejected"),
            [(Path(file.path).name, file.format, file.rows, file.duplicates, file.rejected) for file in ingested],
        )
    for outcome, words in _OUTCOMES.items():
        if count := report.count(outcome):
            out.text(f"{count:,} file{'s' * (count != 1)}: {words}")
    if report.reasons:
        out.rows(("rejected", "reason"), [(count, reason) for reason, count in report.reasons.most_common(10)])
    if ingested:
        out.text(
            f"{len(ingested):,} file{'s' * (len(ingested) != 1)} ingested: {report.rows:,} records,"
            f" {report.documents:,} new documents, {report.rejected:,} rejected"
        )
        if report.forgotten:
            out.text(f"{report.forgotten:,} records left out: their texts were forgotten")
        if report.rejected:
            out.note('what was rejected, and why: cuvee sql "select * from raw.rejects join raw.files using (file_id)"')
    else:
        out.text("nothing new")
