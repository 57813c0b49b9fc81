"""The options of commands about the SQL project: which project, which lake, which nodes, and how they are read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from udfs.errors import UsageError
from warehouse.answers.budget import AnswerLimits, parse_cost, parse_statuses
from warehouse.build.build_options import BuildOptions
from warehouse.cli.output import Output, lake_option, open_lake, project_option
from warehouse.project.options import Selection

if TYPE_CHECKING:
    from warehouse.graph.loaded_project import LoadedProject
    from warehouse.lake.lake import Lake

_FOLDER: dict[str, Any] = {"type": click.Path(path_type=Path), "metavar": "DIR"}
_STATE_HELP = "The folder of an older manifest.json: for state:, result: and --defer."


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFlags:
    """The options that only some of these commands have; the others leave them at their defaults."""

    full_refresh: bool = False
    fail_fast: bool = False
    store_failures: bool = False
    empty: bool = False
    sample: str | None = None
    event_time_start: str | None = None
    event_time_end: str | None = None
    retry: str = ""
    limit: int | None = None
    max_cost: str = ""

    def limits(self) -> AnswerLimits:
        """Return what limits the asking. Raises UsageError for --retry and --max-cost."""
        return AnswerLimits(
            retry=parse_statuses(self.retry) if self.retry else (),
            limit=self.limit,
            max_cost=parse_cost(self.max_cost) if self.max_cost else None,
        )


NO_FLAGS = BuildFlags()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectOptions:
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
    strict: bool = False

    def selection(self, *names: str, kinds: tuple[str, ...] = ()) -> Selection:
        """Return the nodes that --select and --exclude name, and ``names``."""
        return Selection((*names, *self.select), self.exclude, kinds)

    def lake(self) -> Lake:
        """Open the lake. Raises LakeNotFoundError."""
        return open_lake(self.lake_dir)

    def options(self, flags: BuildFlags = NO_FLAGS) -> BuildOptions:
        """Return the options of a build. Raises UsageError for --vars, --retry and --max-cost."""
        return BuildOptions(
            variables=mapping("--vars", self.variables, "{seed: 18}"),
            target=self.target,
            full_refresh=flags.full_refresh,
            fail_fast=flags.fail_fast,
            threads=self.threads,
            store_failures=flags.store_failures,
            selector=self.selector,
            state=self.state,
            defer=self.defer,
            favor_state=self.favor_state,
            empty=flags.empty,
            sample=flags.sample,
            event_time_start=flags.event_time_start,
            event_time_end=flags.event_time_end,
            target_path=self.target_path,
            strict=self.strict,
            limits=flags.limits(),
        )

    def open(self, out: Output, flags: BuildFlags = NO_FLAGS) -> LoadedProject:
        """Open the project, rendered for the lake."""
        from warehouse.graph.loaded_project import open_project

        return open_project(self.lake(), self.project_dir, self.options(flags), say=out.note)

    def open_deferred(self, out: Output, selection: Selection, flags: BuildFlags = NO_FLAGS) -> LoadedProject:
        """Open the project; what is neither selected nor built here is read where --defer says."""
        from warehouse.build.node_selection import deferred

        return deferred(self.open(out, flags), selection)


def mapping(option: str, text: str, example: str) -> dict[str, Any]:
    """Parse the value of an option that takes a YAML mapping. Raises UsageError for anything else."""
    hint = f"{option} '{example}'"
    if text.strip() in ("", "{}"):
        return {}
    from udfs import yamlfile

    try:
        given = yamlfile.parse(text, option)
    except yamlfile.YamlError as error:
        raise UsageError(error.message, where=error.where, hint=hint) from error
    if not isinstance(given, dict | None):
        raise UsageError(f"{option} is a YAML mapping, not {text!r}", hint=hint)
    return given or {}


class SelectingCommand(click.Command):
    """A command that takes several values behind one ``--select`` or ``--exclude``, as dbt does."""

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
    click.option("--strict", is_flag=True, help="Printing an undefined name is an error, in Cuvée's package too."),
)


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a command that reads the project and selects nothing; it receives ``project``."""
    return _collected(command, "project", ProjectOptions, (*_READING, project_option, lake_option))


def project_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a command that selects nodes as well; it receives ``project``, a ProjectOptions."""
    options = (*_SELECTING, *_READING, *_BUILDING, project_option, lake_option)
    return _collected(command, "project", ProjectOptions, options)


def build_flags(*options: Callable[..., Any]) -> Callable[..., Any]:
    """Add some of the options below; the command receives ``flags``, a BuildFlags."""
    return lambda command: _collected(command, "flags", BuildFlags, options)


def _collected(
    command: Callable[..., Any], name: str, kind: type[ProjectOptions] | type[BuildFlags], options: Iterable[Any]
) -> Callable[..., Any]:
    """Add options, and hand their values to the command as one value of ``kind``."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        given = {each: kwargs.pop(each) for each in kind.__dataclass_fields__ if each in kwargs}
        return command(*args, **{name: kind(**given)}, **kwargs)

    for option in reversed(tuple(options)):
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
    sample = "Let models read a part of their inputs: N rows, or a time: '3 days' of those with event_time."
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
            help="Ask only up to this cost: tokens (500k, 2M), or money ('5 USD') by labelers' prices.",
        ),
        click.option(
            "--limit",
            type=click.IntRange(min=1),
            metavar="N",
            help="New answers of each expensive function.",
        ),
        retry_option,
    ):
        command = option(command)
    return command
