"""cuvee forget."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from udfs.errors import UsageError
from warehouse.cli.output import Output, lake_option, open_lake, output_options

if TYPE_CHECKING:
    from warehouse.forget.forget import ForgetPlan


@click.command()
@click.argument("names", nargs=-1, metavar="DOC_ID|URL…")
@click.option("--source", "sources", multiple=True, metavar="NAME", help="All that came from a source; repeatable.")
@click.option("--plan", "only_plan", is_flag=True, help="Say what would go, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@lake_option
@output_options
def forget(
    names: tuple[str, ...], sources: tuple[str, ...], only_plan: bool, yes: bool, lake_dir: Path | None, out: Output
) -> None:
    """Take documents out of the lake, its snapshots, its stores and its shards, for good.

    A doc_id is a text, wherever it was found. A URL or a source is where texts were found; one that was found
    elsewhere too stays, without that place. What is forgotten is not ingested again. Exports and training runs that
    held it are listed: exports are outside the lake and are yours to remove or to make again.

        cuvee forget 1f0c3a… https://example.org/page --plan
        cuvee forget --source blog --yes
    """
    from warehouse.forget import forget as forgetting

    if not names and not sources:
        raise UsageError("nothing to forget", hint="name doc_ids, URLs or --source NAME")
    lake = open_lake(lake_dir)
    request = forgetting.ForgetRequest.of(names, sources)
    planned = forgetting.plan(lake, request)
    if not out.as_json:
        _show(planned, out)
    if planned.is_empty:
        out.text("nothing is left of it")
    elif not only_plan:
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError("this cannot be undone", hint="look with --plan, then say --yes")
            click.confirm("Forget this for good?", abort=True, err=True)
        forgetting.forget(lake, request, out.note)
        out.text("forgotten; models that were built from it are made again by: cuvee build")
    if out.as_json:
        out.json({"forgotten": not only_plan and not planned.is_empty, **asdict(planned)})


def _show(planned: ForgetPlan, out: Output) -> None:
    if planned.is_empty:
        return
    if planned.unfinished:
        out.note("an earlier forget was broken off; this finishes it")
    out.rows(("table", "rows"), sorted(planned.rows.items()))
    out.text(
        f"documents that go: {len(planned.documents):,}; that stay, being found elsewhere too: {planned.kept:,};"
        f" {planned.files:,} data files, {planned.units:,} parts of the shard store,"
        f" {len(planned.snapshots):,} snapshots"
    )
    for snapshot, holder in planned.pins.items():
        out.text(f"snapshot {snapshot} was kept for {holder}; it goes too")
    if planned.exports:
        columns = ("export", "mixture", "documents", "samples", "folder")
        shown = [(e.export_id[:8], e.mixture, e.documents, e.samples, e.path) for e in planned.exports]
        out.rows(columns, shown, title="exports that hold them, and will: remove the folders, or export again")
    if planned.runs:
        runs = [(r.run_id, r.recipe, r.arm, r.batches) for r in planned.runs]
        out.rows(("run", "recipe", "arm", "batches"), runs, title="training runs that saw them")
