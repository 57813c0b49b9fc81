"""cuvee plan, ls, compile and show: what a build would do, and what the project holds. Nothing is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from udfs.errors import CuveeError, Location, UsageError
from warehouse.cli.output import Output, output_options
from warehouse.cli.project_options import (
    BuildFlags,
    ProjectOptions,
    SelectingCommand,
    build_flags,
    project_options,
    refresh_option,
    retry_option,
)
from warehouse.cli.tables import View
from warehouse.project.options import Selection

if TYPE_CHECKING:
    from warehouse.graph.loaded_project import LoadedProject
    from warehouse.graph.step import Step


@click.command(cls=SelectingCommand)
@project_options
@build_flags(refresh_option, retry_option)
@output_options
def plan(project: ProjectOptions, flags: BuildFlags, out: Output) -> None:
    """Say what a build would do, and why. Changes nothing.

    For expensive functions it counts the inputs that have no answer yet, and those that are answered. Where the SQL
    changed it shows how, and which models and snapshots are downstream.

        cuvee plan --select +orders
    """
    from warehouse.build import build as building
    from warehouse.build import estimates

    opened = project.open_deferred(out, project.selection(), flags)
    made = building.plan(opened, project.selection())
    rows = []
    for planned in made:
        calls = estimates.estimate(opened, planned, made, flags.limits()) if planned.changed else []
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
def ls(project: ProjectOptions, kinds: tuple[str, ...], out: Output) -> None:
    """List the project's nodes.

    cuvee ls --select tag:nightly
    """
    from warehouse.build.node_selection import selected_nodes

    opened = project.open(out)
    keys = selected_nodes(opened, project.selection(kinds=kinds))
    steps = [opened.graph.steps[key] for key in opened.graph.order() if key in keys]
    rows = [(step.kind, step.name, step.relation.key if step.relation else None, step.node.path) for step in steps]
    out.rows(("kind", "name", "relation", "path"), rows)


@click.command(name="compile", cls=SelectingCommand)
@click.argument("names", nargs=-1, metavar="[MODEL]…")
@project_options
@output_options
def compile_(project: ProjectOptions, names: tuple[str, ...], out: Output) -> None:
    """Print a model's SQL as its template gives it, ephemeral models put in.

    cuvee compile orders
    """
    from warehouse.artifacts.invocation import invocation, unless_unwritable
    from warehouse.artifacts.manifest import write_manifest
    from warehouse.build.node_selection import selected_nodes

    if not names and not project.select:
        raise UsageError("compile needs the name of a model", hint="for example: cuvee compile orders")
    selection = project.selection(*names)
    opened = project.open_deferred(out, selection)
    keys = selected_nodes(opened, selection)
    call = invocation("compile", opened.root, project.selection(), opened.options)
    with unless_unwritable(out.note):
        write_manifest(opened, call)
    kinds = ("model", "snapshot") if names else ("model", "snapshot", "test")
    steps = [opened.graph.steps[key] for key in opened.graph.order() if key in keys]
    texts = {step.name: opened.compile_with_database(step).sql for step in steps if step.node.kind in kinds}
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
def show(project: ProjectOptions, name: str | None, inline: str | None, limit: int, out: Output) -> None:
    """Show the first rows of a model's query, or of a query given inline. Builds nothing.

    What the query reads has to be built; a model that calls a labelling function has to be built itself.

        cuvee show orders --limit 10
        cuvee show --inline "select count(*) from {{ ref('orders') }}"
    """
    if (inline is None) == (name is None and not project.select):
        raise UsageError("show needs one model or --inline SQL", hint="for example: cuvee show orders")
    import duckdb

    from warehouse.graph.parsing import located
    from warehouse.lake.statements import check_query

    if inline is not None:
        opened = project.open(out)
        step, sql = None, str(opened.renderer.value(inline, Location("--inline")))
    else:
        selection = Selection((name,), project.exclude) if name else project.selection()
        opened = project.open_deferred(out, selection)
        step = one_model(opened, selection, "show")
        sql = step.sql
    limited = sql if limit < 0 else f"select * from (\n{sql.rstrip().rstrip(';')}\n) as shown limit {limit}"
    try:
        reader = opened.lake.reader()
        if inline is not None:
            check_query(reader, sql)
        rows = reader.sql(limited)
        out.result(rows.columns, rows.fetchall(), View(most=None))
    except duckdb.Error as error:
        raise located(step, error) if step else UsageError(str(error)) from error


def one_model(opened: LoadedProject, selection: Selection, command: str) -> Step:
    """Return the one selected model, for ``command``. Raises UsageError if there is none or several.

    Raises CuveeError if it calls an expensive function: only a build answers those.
    """
    from warehouse.answers.calls import calls
    from warehouse.build.node_selection import selected_nodes

    steps = [opened.graph.steps[key] for key in selected_nodes(opened, selection)]
    models = [step for step in steps if step.node.kind in ("model", "snapshot")]
    if len(models) != 1:
        raise UsageError(f"{' '.join(selection.select)} are {len(models)} models", hint=f"{command} takes one")
    if models[0].problem:
        raise models[0].problem
    for call in calls(models[0], opened.functions):
        hint = f'build it, then: cuvee sql "from {models[0].name} limit 5"'
        raise CuveeError(f"{models[0].name} calls {call.name}, which answers in a build", where=call.where, hint=hint)
    return models[0]
