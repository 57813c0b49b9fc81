"""cuvee build, plan, test, ls, compile: the project's commands."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from udfs.errors import UsageError
from warehouse.cli.output import Output, lake_option, open_lake, output_options, project_option

if TYPE_CHECKING:
    from warehouse.opened import Opened
    from warehouse.outcome import Options, Result, Watcher
    from warehouse.plan import Plan


class SelectingCommand(click.Command):
    """Takes several values behind one ``--select`` or ``--exclude``, as dbt does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        option, given = None, False
        for arg in args:
            if arg in ("--select", "-s", "--models", "-m", "--exclude", "--resource-type"):
                option, given = arg, False
            elif arg.startswith("-"):
                option = None
            elif option and given:
                spread.append(option)
            given = True if not arg.startswith("-") else given
            spread.append(arg)
        return super().parse_args(ctx, spread)


#: Where ``project_options`` leaves what only ``build_options`` needs, so that no command has to pass it on.
_PROJECT = f"{__name__}.project"
_STATE_HELP = "The folder of an older manifest.json: for state:, result: and --defer."
_FOLDER: dict[str, Any] = {"type": click.Path(path_type=Path), "metavar": "DIR"}

target_path_option = click.option(
    "--target-path",
    **_FOLDER,
    envvar="DBT_TARGET_PATH",
    help="Where manifest.json and run_results.json go  [default: DBT_TARGET_PATH, else the project's target/]",
)


def project_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options by which every one of these commands finds its project and selects its nodes."""

    @click.option(
        "--select",
        "-s",
        "--models",
        "-m",
        multiple=True,
        metavar="NODES",
        help="What to take: names, tag:…, path:…, +name, name+.",
    )
    @click.option("--exclude", multiple=True, metavar="NODES", help="What to leave out, in the same words.")
    @click.option("--selector", metavar="NAME", help="A selection of selectors.yml, in place of --select.")
    @click.option("--vars", "variables", default="{}", metavar="YAML", help="Variables, as YAML: '{seed: 18}'.")
    @click.option("--target", "-t", metavar="NAME", help="The target of profiles.yml to build for.")
    @click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Nodes at once  [default: the target's]")
    @click.option("--state", "state", **_FOLDER, envvar="DBT_STATE", help=_STATE_HELP)
    @click.option("--defer", is_flag=True, help="Read what is not selected and not built here where --state has it.")
    @click.option("--favor-state", is_flag=True, help="With --defer: read it there even if it is built here.")
    @target_path_option
    @project_option
    @lake_option
    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        names = ("selector", "threads", "state", "defer", "favor_state", "target_path")
        click.get_current_context().meta[_PROJECT] = {name: kwargs.pop(name) for name in names}
        return command(*args, **kwargs)

    return wrapped


store_option = click.option(
    "--store-failures",
    is_flag=True,
    help="Keep the rows that break tests in the schema <target's>_dbt_test__audit.",
)
refresh_option = click.option(
    "--full-refresh", "-f", is_flag=True, help="Build incremental models, tables and seeds from nothing."
)


def part_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--empty`` and ``--sample``."""
    sample = "Let models read a part of their inputs: so many rows, or a time: '3 days' of those with event_time."
    command = click.option("--sample", metavar="N|TIME", help=sample)(command)
    return click.option("--empty", is_flag=True, help="Let models read no rows: to see that everything runs.")(command)


@click.command(cls=SelectingCommand)
@project_options
@refresh_option
@part_options
@store_option
@click.option("--fail-fast", "-x", is_flag=True, help="Stop at the first failure.")
@click.option("--retry-errors", is_flag=True, help="Ask expensive functions again where the stored answer is an error.")
@output_options
def build(
    select: tuple[str, ...],
    exclude: tuple[str, ...],
    variables: str,
    target: str | None,
    project_dir: Path,
    lake_dir: Path | None,
    full_refresh: bool,
    empty: bool,
    sample: str | None,
    store_failures: bool,
    fail_fast: bool,
    retry_errors: bool,
    out: Output,
) -> None:
    """Build seeds, snapshots and models and test them, in dependency order.

    What did not change is not built again. A failed test keeps what lies downstream from being built.

        cuvee build --select +orders
    """
    from warehouse import unchanged

    options = build_options(
        variables,
        target,
        full_refresh=full_refresh,
        empty=empty,
        sample=sample,
        store_failures=store_failures,
        fail_fast=fail_fast,
        retry_errors=retry_errors,
    )
    began = time.perf_counter()
    lake = open_lake(lake_dir)
    results = unchanged.look(lake, project_dir, select, exclude, options)
    if results is None:
        from warehouse.build import build as run

        results = run(lake, project_dir, select, exclude, options, watcher=terminal(out))
    else:
        from warehouse import artifacts

        call = artifacts.invocation("build", project_dir, select, exclude, options)
        with artifacts.unless_unwritable(out.note):
            artifacts.write_run_results(call, results)
    report(out, results, time.perf_counter() - began)


@click.command(cls=SelectingCommand)
@project_options
@store_option
@output_options
def test(
    select: tuple[str, ...],
    exclude: tuple[str, ...],
    variables: str,
    target: str | None,
    project_dir: Path,
    lake_dir: Path | None,
    store_failures: bool,
    out: Output,
) -> None:
    """Run the project's tests, changed or not; build nothing.

    cuvee test --select orders
    """
    from warehouse.build import build as run

    began = time.perf_counter()
    results = run(
        open_lake(lake_dir),
        project_dir,
        select,
        exclude,
        build_options(variables, target, store_failures=store_failures),
        watcher=terminal(out),
        kinds=["test", "unit_test"],
    )
    report(out, results, time.perf_counter() - began)


@click.command(cls=SelectingCommand)
@project_options
@refresh_option
@output_options
def plan(
    select: tuple[str, ...],
    exclude: tuple[str, ...],
    variables: str,
    target: str | None,
    project_dir: Path,
    lake_dir: Path | None,
    full_refresh: bool,
    out: Output,
) -> None:
    """Say what a build would do, and why. Changes nothing.

    For expensive functions it counts the inputs that have no answer yet, and those that are answered. Where the SQL
    changed it shows how, and which models and snapshots lie downstream.

        cuvee plan --select +orders
    """
    from warehouse import build as building
    from warehouse import estimates
    from warehouse.deferral import deferred

    opened = open_for(out, project_dir, lake_dir, build_options(variables, target, full_refresh=full_refresh))
    opened = deferred(opened, select, exclude)
    made = building.plan(opened, select, exclude)
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
def ls(
    select: tuple[str, ...],
    exclude: tuple[str, ...],
    variables: str,
    target: str | None,
    project_dir: Path,
    lake_dir: Path | None,
    kinds: tuple[str, ...],
    out: Output,
) -> None:
    """List the project's nodes.

    cuvee ls --select tag:nightly
    """
    opened = open_for(out, project_dir, lake_dir, build_options(variables, target))
    keys = opened.select(select, exclude)
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
def compile_(
    names: tuple[str, ...],
    select: tuple[str, ...],
    exclude: tuple[str, ...],
    variables: str,
    target: str | None,
    project_dir: Path,
    lake_dir: Path | None,
    out: Output,
) -> None:
    """Print a model's SQL as its template gives it, ephemeral models put in.

    cuvee compile orders
    """
    from warehouse import artifacts
    from warehouse.deferral import deferred

    if not names and not select:
        raise UsageError("compile needs the name of a model", hint="for example: cuvee compile orders")
    opened = open_for(out, project_dir, lake_dir, build_options(variables, target))
    opened = deferred(opened, (*names, *select), exclude)
    keys = opened.select((*names, *select), exclude)
    with artifacts.unless_unwritable(out.note):
        artifacts.write_manifest(opened, artifacts.invocation("compile", opened.root, select, exclude, opened.options))
    kinds = ("model", "snapshot") if names else ("model", "snapshot", "test")
    steps = [opened.graph.steps[key] for key in opened.graph.order() if key in keys]
    texts = {step.name: opened.asked(step).sql for step in steps if step.node.kind in kinds}
    if out.as_json:
        out.json(texts)
        return
    for name, sql in texts.items():
        out.text(f"-- {name}\n{sql};\n" if len(texts) > 1 else f"{sql};")


def build_options(variables: str, target: str | None, **flags: Any) -> Options:
    """The options of a build from those of the command line. Raises UsageError for bad ``--vars``."""
    from warehouse.outcome import Options

    given = {}
    if variables.strip() not in ("", "{}"):
        from warehouse import yamlfile

        try:
            given = yamlfile.parse(variables, "--vars")
        except yamlfile.YamlError as error:
            raise UsageError(error.message, where=error.where, hint="--vars '{seed: 18}'") from error
    if not isinstance(given, dict | None):
        raise UsageError(f"--vars is a YAML mapping, not {variables!r}", hint="--vars '{seed: 18}'")
    return Options(variables=given or {}, target=target, **click.get_current_context().meta.get(_PROJECT, {}), **flags)


def open_for(out: Output, project_dir: Path, lake_dir: Path | None, options: Options) -> Opened:
    """The project in ``project_dir``, rendered for the lake that ``lake_dir`` names."""
    from warehouse.opened import open_project

    return open_project(open_lake(lake_dir), project_dir, options, say=out.note)


def terminal(out: Output) -> Watcher:
    """A watcher that tells what happens on standard error."""
    from warehouse.outcome import Watcher

    class Terminal(Watcher):
        """Tells each node's end on standard error as it comes."""

        def started(self, plan: Plan) -> None:
            self.total, self.done = sum(1 for _ in plan), 0

        def finished(self, result: Result) -> None:
            self.done += 1
            if result.status == "unchanged":
                return
            rows = f"{result.rows:,} rows" if result.rows is not None and result.status == "built" else ""
            took = f"{result.seconds:.2f} s" if result.seconds else ""
            name = result.relation or result.name
            line = f"{self.done:>4}/{self.total}  {result.status:<8} {result.kind:<12} {name}"
            out.note(f"{line}  {', '.join(part for part in (rows, took) if part)}".rstrip())
            if result.status in ("error", "fail", "warn", "skipped") and result.message:
                out.note("      " + result.message.replace("\n", "\n      "))

        def answering(self, title: str, missing: int, reused: int) -> Callable[[int], None]:
            out.note(f"      {title}: {missing:,} to answer, {reused:,} answered before")
            began = last = time.perf_counter()
            done = 0

            def advance(count: int) -> None:
                nonlocal done, last
                done += count
                now = time.perf_counter()
                if now - last >= 2 or done >= missing:
                    last = now
                    speed = done / max(now - began, 1e-9)
                    left = (missing - done) / speed if speed else 0
                    out.note(f"      {title}: {done:,} of {missing:,}, {speed:,.1f} a second, {_duration(left)} left")

            return advance

        def say(self, line: str) -> None:
            out.note(line)

    return Terminal()


def report(out: Output, results: list[Result], seconds: float) -> None:
    """Print what became of the nodes. Raises BuildError if any failed."""
    counts: dict[str, int] = {}
    for result in results:
        counts[result.status] = counts.get(result.status, 0) + 1
    if out.as_json:
        out.json([{name: getattr(result, name) for name in type(result).__dataclass_fields__} for result in results])
    else:
        order = ("built", "unchanged", "pass", "warn", "fail", "error", "skipped")
        said = ", ".join(f"{counts[status]} {status}" for status in order if status in counts) or "nothing selected"
        out.text(f"{said} in {seconds:.2f} s")
    failed = [result for result in results if result.failed]
    if failed:
        from warehouse.execution import BuildError

        details = [f"{result.name}: {result.message}" for result in failed] if out.quiet else []
        raise BuildError("\n".join([f"failed: {', '.join(result.name for result in failed)}", *details]))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
