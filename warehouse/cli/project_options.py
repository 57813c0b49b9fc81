"""What every command about the SQL project is told: which project, which lake, which nodes, and how they are read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from udfs.errors import UsageError
from warehouse.cli.output import Output, lake_option, open_lake, project_option

if TYPE_CHECKING:
    from warehouse.graph.loaded_project import Opened
    from warehouse.lake.lake import Lake
    from warehouse.project.outcome import Options

_FOLDER: dict[str, Any] = {"type": click.Path(path_type=Path), "metavar": "DIR"}
_STATE_HELP = "The folder of an older manifest.json: for state:, result: and --defer."


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options that all these commands have. Those about nodes have defaults: not every command selects."""

    project_dir: Path
    lake_dir: Path | None
    variables: str
    target: str | None
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    selector: str | None = None
    threads: int | None = None
    state: Path | None = None
    defer: bool = False
    favor_state: bool = False
    target_path: Path | None = None

    def lake(self) -> Lake:
        """The lake. Raises LakeNotFoundError."""
        return open_lake(self.lake_dir)

    def options(self, *, retry: str = "", max_cost: str = "", **flags: Any) -> Options:
        """The options of a build; ``flags`` are those that the command has besides.

        Raises UsageError for --vars, --retry and --max-cost.
        """
        from warehouse.answers.budget import parse_cost, parse_statuses
        from warehouse.project.outcome import Options

        return Options(
            variables=mapping("--vars", self.variables, "{seed: 18}"),
            target=self.target,
            selector=self.selector,
            threads=self.threads,
            state=self.state,
            defer=self.defer,
            favor_state=self.favor_state,
            target_path=self.target_path,
            retry=parse_statuses(retry) if retry else (),
            max_cost=parse_cost(max_cost) if max_cost else None,
            **flags,
        )

    def open(self, out: Output, **flags: Any) -> Opened:
        """The project, rendered for the lake."""
        from warehouse.graph.loaded_project import open_project

        return open_project(self.lake(), self.project_dir, self.options(**flags), say=out.note)

    def open_deferred(self, out: Output, chosen: tuple[str, ...], **flags: Any) -> Opened:
        """The same; what is neither ``chosen`` nor built here is read where --defer says."""
        from warehouse.build.deferral import deferred

        return deferred(self.open(out, **flags), chosen, self.exclude)


def mapping(option: str, text: str, example: str) -> dict[str, Any]:
    """The value of an option that takes a YAML mapping. Raises UsageError for anything else."""
    hint = f"{option} '{example}'"
    if text.strip() in ("", "{}"):
        return {}
    from warehouse.project import yamlfile

    try:
        given = yamlfile.parse(text, option)
    except yamlfile.YamlError as error:
        raise UsageError(error.message, where=error.where, hint=hint) from error
    if not isinstance(given, dict | None):
        raise UsageError(f"{option} is a YAML mapping, not {text!r}", hint=hint)
    return given or {}


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


target_path_option = click.option(
    "--target-path",
    **_FOLDER,
    envvar="DBT_TARGET_PATH",
    help="Where manifest.json and run_results.json go  [default: DBT_TARGET_PATH, else the project's target/]",
)
_READING = (
    click.option("--vars", "variables", default="{}", metavar="YAML", help="Variables, as YAML: '{seed: 18}'."),
    click.option("--target", "-t", metavar="NAME", help="The target of profiles.yml to build for."),
)
_SELECTING = (
    click.option(
        "--select",
        "-s",
        "--models",
        "-m",
        multiple=True,
        metavar="NODES",
        help="What to take: names, tag:…, path:…, +name, name+.",
    ),
    click.option("--exclude", multiple=True, metavar="NODES", help="What to leave out, in the same words."),
    click.option("--selector", metavar="NAME", help="A selection of selectors.yml, in place of --select."),
)
_BUILDING = (
    click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Nodes at once  [default: the target's]"),
    click.option("--state", "state", **_FOLDER, envvar="DBT_STATE", help=_STATE_HELP),
    click.option("--defer", is_flag=True, help="Read what is not selected and not built here where --state has it."),
    click.option("--favor-state", is_flag=True, help="With --defer: read it there even if it is built here."),
    target_path_option,
)


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a command that reads the project and selects nothing; it receives ``asked``, an Asked."""
    return _asking(command, (*_READING, project_option, lake_option))


def project_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a command that selects nodes as well; it receives ``asked``, an Asked."""
    return _asking(command, (*_SELECTING, *_READING, *_BUILDING, project_option, lake_option))


def _asking(command: Callable[..., Any], options: tuple[Callable[..., Any], ...]) -> Callable[..., Any]:
    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name in Asked.__dataclass_fields__ if name in kwargs}
        return command(*args, asked=Asked(**given), **kwargs)

    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


fail_fast_option = click.option("--fail-fast", "-x", is_flag=True, help="Stop at the first failure.")
store_option = click.option(
    "--store-failures",
    is_flag=True,
    help="Keep the rows that break tests in the schema <target's>_dbt_test__audit.",
)
refresh_option = click.option(
    "--full-refresh", "-f", is_flag=True, help="Build incremental models, tables and seeds from nothing."
)


def part_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--empty``, ``--sample`` and the times of microbatch models."""
    sample = "Let models read a part of their inputs: so many rows, or a time: '3 days' of those with event_time."
    command = click.option("--sample", metavar="N|TIME", help=sample)(command)
    for end, words in (("end", "Microbatch models build batches to before this time."), ("start", "From this time.")):
        command = click.option(f"--event-time-{end}", metavar="TIME", help=words)(command)
    return click.option("--empty", is_flag=True, help="Let models read no rows: to see that everything runs.")(command)


retry_option = click.option(
    "--retry",
    default="",
    metavar="STATUS,…",
    help="Ask again where the stored answer is of these: error, unparsed, partial.",
)


def asking_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what limits the asking of expensive functions: ``--retry``, ``--limit``, ``--max-cost``."""
    for option in (
        click.option(
            "--max-cost",
            default="",
            metavar="COST",
            help="Ask no more than may cost so many tokens (500k, 2M), or so much money ('5 USD') by labelers' prices.",
        ),
        click.option(
            "--limit", type=click.IntRange(min=1), metavar="N", help="New answers of each expensive function."
        ),
        retry_option,
    ):
        command = option(command)
    return command
