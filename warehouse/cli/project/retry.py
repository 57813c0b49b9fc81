"""cuvee retry: the last command once more, for what it did not get done."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from udfs.errors import UsageError
from warehouse.cli.output import Output, lake_option, open_lake, output_options, project_option
from warehouse.cli.project.build import report, terminal
from warehouse.cli.project_options import target_path_option

_COMMANDS = ("build", "run", "seed", "snapshot", "test")
_UNDONE = ("error", "fail", "skipped", "runtime error", "partial success")


@click.command()
@click.option(
    "--state",
    "state",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder of the run_results.json to go by  [default: where the last command left it]",
)
@target_path_option
@project_option
@lake_option
@output_options
def retry(state: Path | None, target_path: Path | None, project_dir: Path, lake_dir: Path | None, out: Output) -> None:
    """Run again what failed or was skipped in the last build, run, seed or test, with the options it had.

    cuvee retry
    """
    from warehouse.artifacts.comparison import read
    from warehouse.artifacts.invocation import RUN_RESULTS
    from warehouse.build.build import build
    from warehouse.build.build_options import BuildOptions
    from warehouse.project.options import Selection

    folder = state or target_path or project_dir / "target"
    if not (folder / RUN_RESULTS).is_file():
        raise UsageError(f"no {RUN_RESULTS} in {folder}", hint="retry goes by what the last build left there")
    last = read(folder, RUN_RESULTS)
    args: dict[str, Any] = last.get("args") or {}
    which = str(args.get("which"))
    if which not in _COMMANDS:
        raise UsageError(f"the last command was {which}, which has nothing to run again")
    undone = [each["unique_id"] for each in last["results"] if each["status"] in _UNDONE]
    if not undone:
        if out.as_json:
            out.json([])
        out.text("nothing to retry: all went well the last time")
        return
    began = time.perf_counter()
    options = replace(BuildOptions.of_record(args), target_path=target_path)
    selection = Selection(
        select=tuple(args.get("select") or ()),
        exclude=tuple(args.get("exclude") or ()),
        kinds=tuple(args.get("resource_types") or ()),
        only=frozenset(undone),
    )
    results = build(open_lake(lake_dir), project_dir, selection, options, callback=terminal(out))
    report(out, results, time.perf_counter() - began)
