"""cuvee run, seed, snapshot and show: a part of what cuvee build does."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from udfs.errors import CuveeError, Location, UsageError
from warehouse.cli.build import (
    SelectingCommand,
    build_options,
    open_for,
    part_options,
    project_options,
    refresh_option,
    report,
    terminal,
)
from warehouse.cli.output import Output, open_lake, output_options

if TYPE_CHECKING:
    from warehouse.graph import Step
    from warehouse.opened import Opened

_fail_fast = click.option("--fail-fast", "-x", is_flag=True, help="Stop at the first failure.")


@click.command(cls=SelectingCommand)
@project_options
@refresh_option
@part_options
@_fail_fast
@output_options
def run(**given: Any) -> None:
    """Build models that changed; no seeds, and no tests.

    cuvee run --select orders+
    """
    _build("model", **given)


@click.command(cls=SelectingCommand)
@project_options
@refresh_option
@output_options
def seed(full_refresh: bool, **given: Any) -> None:
    """Load the seeds that changed.

    cuvee seed --select taxonomy
    """
    _build("seed", full_refresh=full_refresh, **given)


@click.command(cls=SelectingCommand)
@project_options
@_fail_fast
@output_options
def snapshot(fail_fast: bool, **given: Any) -> None:
    """Add to the snapshots what changed in what they read. History stays, whatever else changes.

    cuvee snapshot --select orders_history
    """
    _build("snapshot", fail_fast=fail_fast, **given)


def _build(
    kind: str,
    select: tuple[str, ...],
    exclude: tuple[str, ...],
    variables: str,
    target: str | None,
    project_dir: Path,
    lake_dir: Path | None,
    out: Output,
    **flags: Any,
) -> None:
    from warehouse.build import build

    began = time.perf_counter()
    options = build_options(variables, target, **flags)
    results = build(open_lake(lake_dir), project_dir, select, exclude, options, watcher=terminal(out), kinds=[kind])
    report(out, results, time.perf_counter() - began)


@click.command(cls=SelectingCommand)
@click.argument("name", required=False, metavar="[MODEL]")
@click.option("--inline", metavar="SQL", help="A query with ref() and other templates, in place of a model.")
@click.option("--limit", default=5, show_default=True, type=click.IntRange(min=-1), help="Rows to show; -1 shows all.")
@project_options
@output_options
def show(
    name: str | None,
    inline: str | None,
    limit: int,
    select: tuple[str, ...],
    exclude: tuple[str, ...],
    variables: str,
    target: str | None,
    project_dir: Path,
    lake_dir: Path | None,
    out: Output,
) -> None:
    """Show the first rows of a model's query, or of a query given inline. Builds nothing.

    What the query reads has to be built; a model that calls a labelling function has to be built itself.

        cuvee show orders --limit 10
        cuvee show --inline "select count(*) from {{ ref('orders') }}"
    """
    if (inline is None) == (name is None and not select):
        raise UsageError("show needs one model or --inline SQL", hint="for example: cuvee show orders")
    import duckdb

    from warehouse.deferral import deferred
    from warehouse.graph import located

    opened = open_for(out, project_dir, lake_dir, build_options(variables, target))
    if inline is not None:
        step, sql = None, str(opened.renderer.value(inline, Location("--inline")))
    else:
        opened = deferred(opened, (name,) if name else select, exclude)
        step = one_model(opened, (name,) if name else select, exclude, "show")
        sql = step.sql
    limited = sql if limit < 0 else f"select * from (\n{sql.rstrip().rstrip(';')}\n) as shown limit {limit}"
    try:
        rows = opened.lake.reader().sql(limited)
        out.rows(rows.columns, rows.fetchall())
    except duckdb.Error as error:
        raise located(step, error) if step else UsageError(str(error)) from error


def one_model(opened: Opened, names: tuple[str, ...], excluded: tuple[str, ...], command: str) -> Step:
    """The model that ``names`` select, for ``command``. Raises UsageError if it is not one.

    Raises CuveeError if it calls an expensive function: only a build answers those.
    """
    from warehouse.calls import calls

    steps = [opened.graph.steps[key] for key in opened.select(names, excluded)]
    models = [step for step in steps if step.node.kind in ("model", "snapshot")]
    if len(models) != 1:
        raise UsageError(f"{' '.join(names)} are {len(models)} models", hint=f"{command} takes one")
    for call in calls(models[0], opened.functions):
        hint = f'build it, then: cuvee sql "from {models[0].name} limit 5"'
        raise CuveeError(f"{models[0].name} calls {call.name}, which answers in a build", where=call.where, hint=hint)
    return models[0]
