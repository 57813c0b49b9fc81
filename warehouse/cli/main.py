"""The command line. Each command lives in a module of its own and is imported only when it is called."""

from __future__ import annotations

import errno
import signal
import sys
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

import click
from click.shell_completion import CompletionItem

from udfs.errors import CuveeError
from warehouse.cli.plain import plain

if TYPE_CHECKING:
    from importlib import metadata
    from types import TracebackType

#: Group → command → (module:function, one line of help), as `cuvee --help` shows them. Help is here so that it imports
#: nothing else.
GROUPS = {
    "lake": {
        "init": ("warehouse.cli.project.init:init", "Create a lake and a project here."),
        "ingest": ("warehouse.cli.lake.ingest:ingest", "Read documents into the lake, or labels of documents."),
        "sql": ("warehouse.cli.lake.sql:sql", "Ask the lake a question in SQL."),
        "lake": ("warehouse.cli.lake.lake:lake", "Show the lake; check, compact or expire it."),
        "attributes": (
            "warehouse.cli.lake.attributes:attributes",
            "Read and write scores as Dolma's attribute files.",
        ),
        "forget": (
            "warehouse.cli.lake.forget:forget",
            "Take documents out of the lake and its snapshots, for good.",
        ),
    },
    "project": {
        "build": (
            "warehouse.cli.project.build:build",
            "Build seeds, snapshots and models and test them, in dependency order.",
        ),
        "run": ("warehouse.cli.project.build:run", "Build models only."),
        "seed": ("warehouse.cli.project.build:seed", "Load seeds only."),
        "snapshot": ("warehouse.cli.project.build:snapshot", "Build snapshots only."),
        "test": ("warehouse.cli.project.build:test", "Run the project's tests."),
        "retry": ("warehouse.cli.project.retry:retry", "Run again what failed or was skipped the last time."),
        "plan": ("warehouse.cli.project.show:plan", "Say what a build would do, and why."),
        "ls": ("warehouse.cli.project.show:ls", "List the project's nodes."),
        "compile": ("warehouse.cli.project.show:compile_", "Print a model's SQL as it is sent to DuckDB."),
        "show": ("warehouse.cli.project.show:show", "Show the first rows of a model's query."),
        "diff": ("warehouse.cli.project.diff:diff", "Show which rows a model's query would change."),
        "lineage": ("warehouse.cli.project.lineage:lineage", "Show where a column comes from and goes."),
        "source": ("warehouse.cli.project.source:source", "Say how old the rows of sources are."),
        "deps": ("warehouse.cli.project.init:deps", "Copy Cuvée's package into the project, for dbt."),
        "vars": ("warehouse.cli.project.init:vars_", "List the variables of Cuvée's package."),
        "docs": ("warehouse.cli.project.docs:docs", "Write pages about the project, and serve them."),
        "run-operation": ("warehouse.cli.project.operation:run_operation", "Call a macro, which may change the lake."),
    },
    "labels": {
        "label": ("warehouse.cli.labels.label:label", "Label documents without keeping the labels, and show how."),
        "labels": ("warehouse.cli.labels.labels:labels", "List the labelers and what they have done."),
        "batch": (
            "warehouse.cli.labels.batch:batch",
            "Label by OpenAI's batch files: write the requests, read the responses.",
        ),
        "convert-gguf": ("warehouse.cli.labels.convert:convert_gguf", "Make a model folder of a GGUF file."),
    },
    "mixtures": {
        "mixture": ("warehouse.cli.mixtures.mixture:mixture", "Show what a mixture got of what it asked; compare two."),
        "tokenizer": ("warehouse.cli.mixtures.tokenizer:tokenizer", "Train and list tokenizers."),
        "export": ("warehouse.cli.mixtures.export:export", "Write a mixture to MDS shards."),
    },
}
COMMANDS = {name: entry for commands in GROUPS.values() for name, entry in commands.items()}


class LazyGroup(click.Group):
    """A group whose commands are found in COMMANDS and in the entry points of other packages, and loaded when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *sorted(_entry_points())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module, _, function = COMMANDS[cmd_name][0].partition(":")
            command: click.Command = getattr(import_module(module), function)
            return command
        if entry := _entry_points().get(cmd_name):
            loaded: click.Command = entry.load()
            return loaded
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from udfs.errors import did_you_mean

        name = args[0]
        if not name.startswith("-") and name not in COMMANDS and name not in self.list_commands(ctx):
            hint = did_you_mean(name, self.list_commands(ctx)) or ""
            raise click.UsageError(f"no command {name!r}; {hint}" if hint else f"no command {name!r}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        names = self.list_commands(ctx)
        width = max(map(len, names))  # the help of all groups begins in one column
        further = [name for name in names if name not in COMMANDS]
        for title, group in {**GROUPS, "training": further}.items():
            if group:
                with formatter.section(title.capitalize()):
                    formatter.write_dl([(name.ljust(width), self._help(name)) for name in group])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        items = [CompletionItem(name, help=self._help(name)) for name in names]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    @staticmethod
    def _help(name: str) -> str:
        return COMMANDS[name][1] if name in COMMANDS else _ENTRY_HELP.get(name, "")


#: Help for training's commands: loading them to ask would import what they import.
_ENTRY_HELP = {
    "anneal": "Train a trunk and anneal it on mixtures, from a recipe.",
    "checkpoint": "Write a checkpoint as a folder that transformers loads.",
    "distil": "Train a small labeler on another one's labels, from a recipe.",
}


def _entry_points() -> dict[str, metadata.EntryPoint]:
    """Return the commands of packages that the warehouse does not know: training's."""
    from importlib import metadata  # 0.06 s, which most commands need not spend

    return {entry.name: entry for entry in metadata.entry_points(group="cuvee.commands")}


_HELP = "A SQL-centric warehouse for the data of language-model training."


@click.command(cls=LazyGroup, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cuvee", message="%(prog)s %(version)s")
def cli() -> None:
    """Run the command that is named."""


def main() -> None:
    """Run a command. A user's mistake ends in one clear message: exit code 1 for a failure, 2 for wrong usage."""
    interrupted = False

    def interrupt(number: int, frame: object) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    # DuckDB turns a KeyboardInterrupt inside a query into an error of its own: remember what it was.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, interrupt)
    sys.excepthook = _traceback
    try:
        code = cli(standalone_mode=False)  # click returns the code of ctx.exit() in this mode
        sys.exit(code if isinstance(code, int) else 0)
    except (click.Abort, KeyboardInterrupt):
        _stop("stopped", 130)
    except BrokenPipeError:
        # The reader (head, less) has gone. Python would complain once more when it flushes at exit.
        sys.stderr.close()
        sys.exit(141)
    except Exception as error:
        if interrupted:
            _stop("stopped", 130)
        if isinstance(error, click.ClickException):
            vars(error)["message"] = plain(error.message)
            error.show()
            sys.exit(error.exit_code)
        if isinstance(error, CuveeError):
            _stop(f"error: {error}", error.exit_code)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS):
            _stop(f"error: {error}", 1)
        raise


def _traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    import traceback

    click.echo(plain("".join(traceback.format_exception(kind, error, trace))), err=True, nl=False)


def _stop(message: str, code: int) -> NoReturn:
    click.echo(plain(message), err=True)
    sys.exit(code)
