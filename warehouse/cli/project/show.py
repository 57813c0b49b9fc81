"""cuvee plan, ls, compile and show: what a build would do, and what the project holds. Nothing is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from udfs.errors import CuveeError, Location, UsageError
from warehouse.cli.output import Output, output_options
from warehouse.cli.project_options import Asked, SelectingCommand, project_options, refresh_option, retry_option

if TYPE_CHECKING:
    from warehouse.graph.graph import Step
    from warehouse.graph.loaded_project import Opened


@click.command(cls=SelectingCommand)
@project_options
@refresh_option
@retry_option
@output_options
def plan(asked: Asked, full_refresh: bool, retry: str, out: Output) -> None:
    """Say what a build would do, and why. Changes nothing.

    For expensive functions it counts the inputs that have no answer yet, and those that are answered. Where the SQL
    changed it shows how, and which models and snapshots lie downstream.

        cuvee plan --select +orders
    """
    from warehouse.build import build as building
    from warehouse.build import estimates

    opened = asked.open_deferred(out, asked.select, full_refresh=full_refresh, retry=retry)
    made = building.plan(opened, asked.select, asked.exclude)
    rows = []
    for planned in made:
        calls = estimates.estimate(opened, planned, made) if planned.changed else []
        why = str(planned.problem) if planned.problem and planned.changed else "; ".join(planned.why) or "unchanged"
        rows.append((planned, why, calls))
    if out.as_json:
        out.json(
            [
                {
                    "node": planned.step.id,
                    "name": planned.step.name,
                    "kind": planned.step.kind,
                    "relation": planned.relation_key or None,
                    "changed": planned.changed,
                    "why": list(planned.why),
                    "problem": str(planned.problem) if planned.problem else None,
                    "calls": [call.as_dict() for call in calls],
                    "diff": planned.diff or None,
                    "downstream": building.touched(opened.graph, planned) if planned.diff else [],
                }
                for planned, _, calls in rows
            ]
        )
        return
    shown = [
        (planned.step.kind, planned.step.name, "\n".join([why, *(call.words() for call in calls)]))
        for planned, why, calls in rows
        if planned.changed
    ]
    if shown:
        out.rows(("kind", "node", "why"), shown)
    for planned, _, _ in rows:
        if planned.diff and planned.step.kind not in ("test", "unit_test"):
            below = [opened.graph.steps[key].name for key in building.touched(opened.graph, planned)]
            out.text(f"{planned.step.name}, read by {', '.join(below) or 'nothing'}:\n{planned.diff}\n")
    out.note(f"{len(shown)} to do, {len(rows) - len(shown)} unchanged")


@click.command(cls=SelectingCommand)
@project_options
@click.option(
    "--resource-type",
    "kinds",
    multiple=True,
    type=click.Choice(["model", "seed", "snapshot", "test", "unit_test", "source", "exposure"]),
    help="Only nodes of this kind.",
)
@output_options
def ls(asked: Asked, kinds: tuple[str, ...], out: Output) -> None:
    """List the project's nodes.

    cuvee ls --select tag:nightly
    """
    opened = asked.open(out)
    keys = opened.select(asked.select, asked.exclude)
    steps = [opened.graph.steps[key] for key in opened.graph.order() if key in keys]
    rows = [
        (step.kind, step.name, step.relation.key if step.relation else None, step.node.path)
        for step in steps
        if not kinds or step.node.kind in kinds
    ]
    out.rows(("kind", "name", "relation", "path"), rows)


@click.command(name="compile", cls=SelectingCommand)
@click.argument("names", nargs=-1, metavar="[MODEL]…")
@project_options
@output_options
def compile_(asked: Asked, names: tuple[str, ...], out: Output) -> None:
    """Print a model's SQL as its template gives it, ephemeral models put in.

    cuvee compile orders
    """
    from warehouse.artifacts import artifacts, manifest

    if not names and not asked.select:
        raise UsageError("compile needs the name of a model", hint="for example: cuvee compile orders")
    chosen = (*names, *asked.select)
    opened = asked.open_deferred(out, chosen)
    keys = opened.select(chosen, asked.exclude)
    call = artifacts.invocation("compile", opened.root, asked.select, asked.exclude, opened.options)
    with artifacts.unless_unwritable(out.note):
        manifest.write_manifest(opened, call)
    kinds = ("model", "snapshot") if names else ("model", "snapshot", "test")
    steps = [opened.graph.steps[key] for key in opened.graph.order() if key in keys]
    texts = {step.name: opened.asked(step).sql for step in steps if step.node.kind in kinds}
    if out.as_json:
        out.json(texts)
        return
    for name, sql in texts.items():
        out.text(f"-- {name}\n{sql};\n" if len(texts) > 1 else f"{sql};")


@click.command(cls=SelectingCommand)
@click.argument("name", required=False, metavar="[MODEL]")
@click.option("--inline", metavar="SQL", help="A query with ref() and other templates, in place of a model.")
@click.option("--limit", default=5, show_default=True, type=click.IntRange(min=-1), help="Rows to show; -1 shows all.")
@project_options
@output_options
def show(asked: Asked, name: str | None, inline: str | None, limit: int, out: Output) -> None:
    """Show the first rows of a model's query, or of a query given inline. Builds nothing.

    What the query reads has to be built; a model that calls a labelling function has to be built itself.

        cuvee show orders --limit 10
        cuvee show --inline "select count(*) from {{ ref('orders') }}"
    """
    if (inline is None) == (name is None and not asked.select):
        raise UsageError("show needs one model or --inline SQL", hint="for example: cuvee show orders")
    import duckdb

    from warehouse.graph.parsing import located

    if inline is not None:
        opened = asked.open(out)
        step, sql = None, str(opened.renderer.value(inline, Location("--inline")))
    else:
        chosen = (name,) if name else asked.select
        opened = asked.open_deferred(out, chosen)
        step = one_model(opened, chosen, asked.exclude, "show")
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
    from warehouse.answers.calls import calls

    steps = [opened.graph.steps[key] for key in opened.select(names, excluded)]
    models = [step for step in steps if step.node.kind in ("model", "snapshot")]
    if len(models) != 1:
        raise UsageError(f"{' '.join(names)} are {len(models)} models", hint=f"{command} takes one")
    for call in calls(models[0], opened.functions):
        hint = f'build it, then: cuvee sql "from {models[0].name} limit 5"'
        raise CuveeError(f"{models[0].name} calls {call.name}, which answers in a build", where=call.where, hint=hint)
    return models[0]
