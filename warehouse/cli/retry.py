"""cuvee retry: the last command once more, for what it did not get done."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from udfs.errors import UsageError
from warehouse.cli.build import report, terminal
from warehouse.cli.output import Output, lake_option, open_lake, output_options, project_option
from warehouse.cli.project import target_path_option

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
    from warehouse.artifacts import RUN_RESULTS
    from warehouse.build import build
    from warehouse.comparison import StateError, read

    folder = state or target_path or project_dir / "target"
    if not (folder / RUN_RESULTS).is_file():
        raise StateError(f"no {RUN_RESULTS} in {folder}", hint="retry goes by what the last build left there")
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
    options = _options(args, target_path)
    results = build(
        open_lake(lake_dir),
        project_dir,
        args.get("select") or (),
        args.get("exclude") or (),
        options,
        watcher=terminal(out),
        kinds=args.get("resource_types") or (),
        only=undone,
    )
    report(out, results, time.perf_counter() - began)


def _options(args: dict[str, Any], target_path: Path | None) -> Any:
    """The options that the last command had."""
    from warehouse.budget import Cost
    from warehouse.outcome import Options

    return Options(
        variables=args.get("vars") or {},
        target=args.get("target"),
        selector=args.get("selector"),
        full_refresh=bool(args.get("full_refresh")),
        fail_fast=bool(args.get("fail_fast")),
        retry=tuple(args.get("retry") or ()),
        limit=args.get("limit"),
        max_cost=Cost(*args["max_cost"]) if args.get("max_cost") else None,
        store_failures=bool(args.get("store_failures")),
        state=Path(args["state"]) if args.get("state") else None,
        defer=bool(args.get("defer")),
        favor_state=bool(args.get("favor_state")),
        empty=bool(args.get("empty")),
        sample=args.get("sample"),
        target_path=target_path,
    )
