"""cuvee lake: what the lake holds, and its maintenance."""

from __future__ import annotations

from pathlib import Path

import click

from udfs.errors import CuveeError, UsageError
from warehouse.cli.output import Output, lake_option, open_lake, output_options


@click.group(invoke_without_command=True)
@lake_option
@output_options
@click.pass_context
def lake(ctx: click.Context, lake_dir: Path | None, out: Output) -> None:
    """Show tables, rows, bytes and snapshots, and how a plain DuckDB client opens the lake.

    cuvee lake
    """
    if ctx.invoked_subcommand:
        ctx.obj = lake_dir
        return
    from rich.filesize import decimal

    here = open_lake(lake_dir)
    tables, snapshots = here.tables(), here.snapshots()
    if out.as_json:
        out.json(
            {
                "lake": str(here.root),
                "attach": here.attach_statement,
                "tables": [{"table": t.name, "rows": t.rows, "files": t.files, "bytes": t.bytes} for t in tables],
                "snapshots": [
                    {"snapshot": s.snapshot_id, "time": s.time, "author": s.author, "message": s.message}
                    for s in snapshots
                ],
            }
        )
        return
    out.rows(("table", "rows", "files", "size"), [(t.name, f"{t.rows:,}", t.files, decimal(t.bytes)) for t in tables])
    latest = snapshots[-10:]
    out.rows(
        ("snapshot", "time (UTC)", "author", "message"),
        [(s.snapshot_id, s.time, s.author, s.message) for s in latest],
        title=f"the latest {len(latest)} of {len(snapshots)} snapshots",
    )
    out.text(f"from any DuckDB client with the ducklake and sqlite extensions:\n  {here.attach_statement};")


@lake.command()
@click.option("--contents", is_flag=True, help="Read everything: each page is whole, each text has its doc_id.")
@output_options
@click.pass_obj
def check(lake_dir: Path | None, contents: bool, out: Output) -> None:
    """Open every data file and compare it with the catalog; exit 1 if one is missing, unreadable or miscounted.

    cuvee lake check
    """
    from warehouse.lake.maintenance import check as check_lake

    found = check_lake(open_lake(lake_dir), contents=contents)
    if out.as_json:
        out.json(
            {
                "files": found.files,
                "rows": found.rows,
                "faults": [{"table": f.table, "path": f.path, "problem": f.problem} for f in found.faults],
                "orphans": list(found.orphans),
            }
        )
    else:
        if found.faults:
            out.rows(("table", "file", "problem"), [(f.table, f.path, f.problem) for f in found.faults])
        out.text(f"{found.files} files, {found.rows:,} rows, {len(found.faults)} faults")
        if found.orphans:
            out.note(f"{len(found.orphans)} files belong to no snapshot; remove them with: cuvee lake compact")
    if found.faults:
        raise CuveeError(f"{len(found.faults)} data files are not what the catalog says")


@lake.command()
@output_options
@click.pass_obj
def compact(lake_dir: Path | None, out: Output) -> None:
    """Merge small files and remove files that no snapshot needs. No snapshot changes.

    cuvee lake compact
    """
    from warehouse.lake.maintenance import compact as compact_lake

    done = compact_lake(open_lake(lake_dir))
    if out.as_json:
        out.json({"files_before": done.before, "files_after": done.after, "removed": done.removed})
    else:
        out.text(f"{done.before} files became {done.after}; {done.removed} removed from disk")


@lake.command()
@click.option("--version", "versions", type=int, multiple=True, metavar="N", help="A snapshot to forget; repeatable.")
@click.option(
    "--older-than",
    type=click.FloatRange(0, 1_000_000),
    metavar="DAYS",
    help="Forget snapshots older than this many days.",
)
@output_options
@click.pass_obj
def expire(lake_dir: Path | None, versions: tuple[int, ...], older_than: float | None, out: Output) -> None:
    """Forget snapshots. One that an export or a run cites stays, and you are told who holds it.

    cuvee lake expire --older-than 30
    """
    from warehouse.lake.maintenance import expire as expire_lake

    if not versions and older_than is None:
        raise UsageError("nothing to expire", hint="name snapshots with --version N, or an age with --older-than DAYS")
    done = expire_lake(open_lake(lake_dir), versions=versions, older_than_days=older_than)
    if out.as_json:
        out.json({"expired": done.expired, "pinned": done.pinned})
        return
    out.text(f"{len(done.expired)} snapshots expired")
    for snapshot, holder in done.pinned.items():
        out.note(f"snapshot {snapshot} stays: it is held by {holder}")
