"""cuvee ingest."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from udfs.amounts import parse_bytes
from udfs.errors import CuveeError, UsageError
from warehouse.cli.output import Amount, Output, lake_option, open_lake, output_options, project_option

if TYPE_CHECKING:
    from warehouse.ingest.run import FileReport, IngestReport

#: So many files are listed one by one; of more, only those that need attention.
_LISTED = 20

_OUTCOMES = {
    "unchanged": "already in the lake",
    "touched": "already in the lake under another time of change",
    "copy": "copies of files that are in the lake",
    "elsewhere": "ingested by another process meanwhile",
    "left out": "left out",
    "unreadable": "could not be read",
}


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH…")
@click.option("--source", metavar="NAME", help="Source of all documents  [default: the record's, else the file's name]")
@click.option("--benchmark", metavar="NAME", help="A benchmark's files: source benchmarks/NAME, all its text fields.")
@click.option("--text-field", metavar="F", help="Field of the text; a.b nests.  [default: text]")
@click.option("--id-field", default="id", show_default=True, metavar="F", help="Field of the source's own id.")
@click.option("--url-field", default="url", show_default=True, metavar="F", help="Field of the URL.")
@click.option("--tokenizer", metavar="NAME|DIR", help="Makes text of MDS samples that are tokens only.")
@click.option("--delimiter", metavar="C", help="Delimiter of tables.  [default: by the header and the name]")
@click.option("--follow-links", is_flag=True, help="Also read links that lead out of their folder.")
@click.option("--extractor", default="resiliparse", show_default=True, metavar="NAME", help="Makes text of HTML.")
@click.option("--strict", is_flag=True, help="Stop at the first record that cannot be read, with exit code 1.")
@click.option("--environment", is_flag=True, help="Also read the files of the installed Python packages.")
@click.option(
    "--limit-bytes",
    type=Amount("size", parse_bytes, "30MB or 2GB"),
    metavar="SIZE",
    help="With --environment: at most this much, e.g. 30MB.",
)
@click.option("--labels", is_flag=True, help="The files hold labels of documents, not documents.")
@click.option("--labeler", metavar="NAME", help="With --labels: who gave them; the name is new to the project.")
@click.option("--taxonomy", metavar="NAME", help="With --labels: whose categories they are of.  [default: eai]")
@project_option
@lake_option
@output_options
def ingest(
    paths: tuple[str, ...],
    source: str | None,
    benchmark: str | None,
    text_field: str | None,
    id_field: str,
    url_field: str,
    tokenizer: str | None,
    delimiter: str | None,
    follow_links: bool,
    extractor: str,
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

    JSONL and JSON, Parquet, CSV and TSV, Arrow, ORC, MDS folders, WARC, WET and ARC, HTML, text, Markdown and source
    files are told by their content, also compressed (gz, zst, bz2, xz, lz4), in tar (WebDataset) and zip. Files that
    the lake has are not read again. Records that cannot be read go to raw.rejects. URLs such as
    hf://datasets/NAME/folder or s3://… are downloaded for as long as they are read. --extractor trafilatura makes
    better text of HTML than resiliparse, and is far slower.

    Labels (Parquet, CSV, JSONL) land in labels.<taxonomy> as those of a labeler of their own. A row names its document
    by doc_id, text, url or id, and has a column per category, or category, rank and code.

    A benchmark's records (JSONL, JSON, Parquet, MDS) get the source benchmarks/NAME, which no mixture quotes. Their
    fields that are texts (question, answer, choices, …) are found and named, and each is read; --text-field F,F names
    others. A record without one of them is counted.

        cuvee ingest data/*.jsonl.gz papers/ --source papers
        cuvee ingest test.jsonl --benchmark gsm8k
        cuvee ingest --labels people.csv --labeler people
    """
    if not paths and not environment:
        raise UsageError("nothing to ingest", hint="name files, folders or globs, or use --environment")
    if limit_bytes is not None and not environment:
        raise UsageError("--limit-bytes bounds --environment only")
    if benchmark is not None:
        _check_benchmark(source, tokenizer, labels=labels, environment=environment)
    for option, name in (("--text-field", text_field), ("--id-field", id_field), ("--url-field", url_field)):
        if name == "":
            raise UsageError(f"{option} is empty", hint="name a field of the records")
    if labels and environment:
        raise UsageError("--environment has no labels")
    if labels != (labeler is not None) or (taxonomy is not None and not labels):
        raise UsageError("--labels needs --labeler NAME, and --labeler and --taxonomy need --labels")

    from udfs.tokens.tokenizer import find as find_tokenizer
    from warehouse.ingest.inputs import environment_inputs, find_inputs
    from warehouse.ingest.records import IngestOptions
    from warehouse.ingest.run import ingest as run
    from warehouse.ingest.web.extraction import check_extractor
    from warehouse.lake.remote import is_url

    if source == "":
        raise UsageError("--source is empty", hint="leave it out, and each file gives its own")
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise UsageError(f"{delimiter!r} cannot be a delimiter", hint="one character, such as ; or | or $'\\t'")
    lake = open_lake(lake_dir)
    text = text_field or "text"
    check_extractor(extractor)
    options = IngestOptions(
        source,
        text_field=text,
        id_field=id_field,
        url_field=url_field,
        strict=strict,
        delimiter=delimiter,
        extractor=extractor,
    )
    if labeler is not None:
        from warehouse.cli.labels.ingest_labels import new_labeler
        from warehouse.cli.labels.ingest_labels import run as run_labels

        return run_labels(lake, find_inputs(paths), new_labeler(project_dir, labeler, taxonomy), options, out)
    with ExitStack() as stack:
        downloads = stack.enter_context(lake.staging()).folder if any(map(is_url, paths)) else None
        inputs = find_inputs(paths, downloads, follow_links=follow_links)
        if benchmark is not None:
            from warehouse.cli.lake.ingest_benchmark import benchmark_source
            from warehouse.cli.lake.ingest_benchmark import run as run_benchmark

            options = replace(options, source=benchmark_source(benchmark))
            return _fail_for(run_benchmark(lake, inputs, text_field, options, out))
        if environment:
            out.note("looking through the installed packages")
            inputs += environment_inputs(limit_bytes)
        total = sum(entry.path.stat().st_size for entry in inputs if entry.path.is_file()) / 1e6
        if tokenizer:
            options = replace(options, tokenizer=find_tokenizer(tokenizer, lake.root / "tokenizers", Path()))
        with out.progress("ingesting", total, "MB") as progress:
            report = run(lake, inputs, options, lambda size, name: progress.advance(size / 1e6, name))
    _print(report, out)
    _fail_for([file for file in report.files if file.outcome == "unreadable"])
    if report.rejected and not (report.rows or report.forgotten):
        raise CuveeError(
            f"everything was rejected: {report.rejected:,} record{'s' * (report.rejected != 1)}, no document",
            hint=report.reasons.most_common(1)[0][0],
        )
    return None


def _check_benchmark(source: str | None, tokenizer: str | None, *, labels: bool, environment: bool) -> None:
    if source is not None:
        raise UsageError("--benchmark NAME is the source already", hint="leave --source out")
    if labels or environment or tokenizer is not None:
        raise UsageError("--benchmark reads the records of files; it goes with no --labels, --environment, --tokenizer")


def _fail_for(unreadable: Sequence[FileReport]) -> None:
    if unreadable:
        raise CuveeError(f"{len(unreadable)} files could not be read; first {unreadable[0].path}: {unreadable[0].note}")


def _print(report: IngestReport, out: Output) -> None:
    from warehouse.ingest.records import PASSED_OVER

    if out.as_json:
        out.json(
            {
                "ingested": report.count("ingested"),
                "known": report.count("unchanged", "touched", "copy", "elsewhere"),
                "left_out": report.count("left out"),
                "unreadable": report.count("unreadable"),
                "occurrences": report.rows,
                "documents": report.documents,
                "rejected": report.rejected,
                "forgotten": report.forgotten,
                "reasons": dict(report.reasons.most_common()),
                "notes": dict(report.notes.most_common()),
                "passed_over": dict(report.passed_over.most_common()),
                "files": [
                    {
                        "path": file.path,
                        "outcome": file.outcome,
                        "format": file.format,
                        "rows": file.rows,
                        "duplicates": file.duplicates,
                        "rejected": file.rejected,
                        "passed_over": dict(file.passed_over),
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
            notes = {file.note for file in report.files if file.outcome == outcome and outcome == "left out"}
            why = f" ({'; '.join(sorted(filter(None, notes)))})" if notes else ""
            out.text(f"{count:,} file{'s' * (count != 1)}: {words}{why}")
    out.counts(("rejected", "reason"), report.reasons)
    if passed_over := report.passed_over.most_common():
        out.rows(("passed over", "reason"), [(count, PASSED_OVER[name]) for name, count in passed_over])
    out.counts(("values", "note"), report.notes)
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
