"""What every command shares: the options that mean the same everywhere, and how results and progress are shown.

Results go to standard output (a table for people, JSON with ``--json``), everything else to standard error.
"""

from __future__ import annotations

import functools
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import click

from warehouse.cli.plain import plain
from warehouse.cli.tables import View, as_objects, console, to_json, write_report, write_rows
from warehouse.lake.lake import Lake

lake_option = click.option(
    "--lake",
    "lake_dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The lake's folder  [default: CUVEE_LAKE, else the nearest lake/]",
)


def _project(ctx: click.Context, param: click.Parameter, given: Path | None) -> Path:
    """Return the folder that is named, else the nearest one upwards with a dbt_project.yml, else the working folder."""
    here = Path()
    near = (here, *(Path(*[".."] * steps) for steps in range(1, len(Path.cwd().parts))))
    return given or next((folder for folder in near if (folder / "dbt_project.yml").is_file()), here)


project_option = click.option(
    "--project-dir",
    type=click.Path(path_type=Path),
    callback=_project,
    metavar="DIR",
    help="The folder of dbt_project.yml  [default: the nearest one upwards]",
)


class Amount(click.ParamType[int]):
    """A whole number of 1 or more that is written with a unit, as ``parse`` reads it."""

    def __init__(self, name: str, parse: Callable[[str], float], example: str) -> None:
        self.name, self._parse, self._example = name, parse, example

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number; fail with an example."""
        try:
            amount = int(self._parse(str(value)))
        except (ValueError, OverflowError):
            amount = 0
        if amount < 1:
            self.fail(f"{value!r} is not a valid {self.name}; write {self._example}", param, ctx)
        return amount


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json`` and ``--quiet``; the command receives ``out``, an Output."""

    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    @click.option("--quiet", "-q", is_flag=True, help="Print the result and errors only.")
    @functools.wraps(command)
    def wrapped(*args: Any, as_json: bool, quiet: bool, **kwargs: Any) -> Any:
        return command(*args, out=Output(as_json=as_json, quiet=quiet), **kwargs)

    return wrapped


#: So many of the most frequent reasons are listed.
COUNTS = 10

#: The colour of what became of a node.
_COLOURS = {"pass": "green", "warn": "yellow", "fail": "red", "error": "red"}


def coloured(text: str, status: str) -> str:
    """Return text of ours in the colour of a status, for a ``Styled`` line. click drops colours off a terminal."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or status not in _COLOURS:
        return text
    return click.style(text, fg=_COLOURS[status])


def open_lake(lake_dir: Path | None) -> Lake:
    """Open the lake that ``--lake``, ``CUVEE_LAKE`` or the working folder names. Raises LakeNotFoundError."""
    return Lake.open(lake_dir)


class Progress(Protocol):
    """Something that counts."""

    def advance(self, amount: float = 1, note: str | None = None) -> None:
        """Count ``amount`` more; ``note`` replaces the text behind the bar."""


@dataclass(frozen=True, slots=True)
class Output:
    """Where a command's results and notes go."""

    as_json: bool = False
    quiet: bool = False

    def rows(self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
        """Print a result with named columns: a table, or a JSON list of objects."""
        rows = [tuple(row) for row in rows]
        if self.as_json:
            self.json(as_objects(columns, rows))
        else:
            write_report(columns, rows, title)

    def counts(self, columns: tuple[str, str], counts: Counter[str]) -> None:
        """Print what is most frequent, and say how much is not shown."""
        if not counts:
            return
        shown = counts.most_common(COUNTS)
        self.rows(columns, [(count, name) for name, count in shown])
        if more := len(counts) - len(shown):
            rest = counts.total() - sum(count for _, count in shown)
            self.text(f"and {more:,} more {columns[1]}{'s' * (more != 1)}, {rest:,} {columns[0]}; --json lists all")

    def result(self, columns: Sequence[str], rows: Iterable[Sequence[object]], view: View) -> None:
        """Print the rows of a query: a table that fits a terminal, or a JSON list of objects."""
        if self.as_json:
            self.json(as_objects(columns, rows))
        else:
            write_rows(columns, rows, view)

    def json(self, value: object) -> None:
        """Print a value as JSON. Dates and other foreign types become text."""
        click.echo(to_json(value, indent=2))

    def text(self, line: str) -> None:
        """Print a line of the result. Silent under --json: there the result is one JSON value."""
        if not self.as_json:
            click.echo(plain(line))

    def note(self, line: str) -> None:
        """Print a note about the result, on standard error; silent with --quiet."""
        if not self.quiet:
            click.echo(plain(line), err=True)

    @contextmanager
    def progress(self, what: str, total: float | None = None, unit: str = "") -> Iterator[Progress]:
        """Show how far a long step is: a bar on a terminal, else a line every few seconds; nothing with --quiet."""
        if self.quiet:
            yield _Silent()
        elif sys.stderr.isatty():
            yield from self._bar(what, total, unit)
        else:
            yield _Lines(what, total, unit)

    def _bar(self, what: str, total: float | None, unit: str) -> Iterator[Progress]:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Bars(*columns, console=console(sys.stderr), transient=True) as bars:
            task = bars.add_task(plain(what), total=total, note="")

            class Bar:
                def advance(self, amount: float = 1, note: str | None = None) -> None:
                    bars.advance(task, amount)
                    if note is not None:
                        bars.update(task, note=plain(note))

            yield Bar()


class _Silent:
    def advance(self, amount: float = 1, note: str | None = None) -> None:
        pass


class _Lines:
    """Progress in a log: a line when five seconds have passed since the last."""

    def __init__(self, what: str, total: float | None, unit: str) -> None:
        import time

        self._what, self._total, self._unit = what, total, unit
        self._done = 0.0
        self._clock = time.monotonic
        self._last = self._clock()

    def advance(self, amount: float = 1, note: str | None = None) -> None:
        self._done += amount
        if self._clock() - self._last >= 5:
            self._last = self._clock()
            of = f" of {self._total:,.0f}" if self._total else ""
            line = f"{self._what}: {self._done:,.0f}{of} {self._unit} {note or ''}".rstrip()
            click.echo(plain(line), err=True)
