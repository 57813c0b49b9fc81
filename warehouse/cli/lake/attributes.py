"""cuvee attributes: Dolma's attribute files, read and written."""

from __future__ import annotations

from pathlib import Path

import click

from warehouse.cli.output import Output, lake_option, open_lake, output_options


@click.group()
def attributes() -> None:
    """Read and write scores of documents as files next to them, as Dolma's tools do.

    cuvee attributes write quality --from quality_scores
    """


@attributes.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH…")
@click.option("--source", metavar="NAME", help="Whose ids they are, where several sources use the same.")
@click.option("--strict", is_flag=True, help="Stop at the first record that cannot be read, with exit code 1.")
@lake_option
@output_options
def read(paths: tuple[str, ...], source: str | None, strict: bool, lake_dir: Path | None, out: Output) -> None:
    """Read attribute files into raw.attributes, a row per span: doc_id, attribute, start_char, end_char, value.

    cuvee attributes read attributes/toxicity/*.jsonl.gz
    """
    from warehouse.ingest.attributes import read as read_attributes
    from warehouse.ingest.inputs import find_inputs
    from warehouse.ingest.records import IngestOptions

    reports = read_attributes(open_lake(lake_dir), find_inputs(paths), IngestOptions(source=source, strict=strict))
    columns = ("file", "documents", "spans", "rejected", "unchanged")
    out.rows(columns, [(each.path, each.documents, each.spans, each.rejected, each.unchanged) for each in reports])


@attributes.command()
@click.argument("name")
@click.option("--from", "source", required=True, metavar="MODEL|SQL", help="A relation with doc_id and numbers.")
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to write  [default: next to the documents]",
)
@lake_option
@output_options
def write(name: str, source: str, folder: Path | None, lake_dir: Path | None, out: Output) -> None:
    """Write attribute files NAME for the JSONL files that documents came from, a line for each of their lines.

    Each column of numbers is an attribute of the whole document; a relation with attribute, start_char, end_char and
    value has spans. What is below documents/ gets a file below attributes/NAME/.

        cuvee attributes write quality --from "select doc_id, value from scores"
    """
    from warehouse.ingest.attributes import write as write_attributes

    written = write_attributes(open_lake(lake_dir), source, name, folder)
    out.rows(("file", "lines", "with_attributes"), [(str(each.path), each.lines, each.filled) for each in written])
