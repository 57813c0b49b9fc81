"""What every command shares: the options that mean the same everywhere, and how results and progress are shown.

Results go to standard output (a table for people, JSON with ``--json``), everything else to standard error.
"""

from __future__ import annotations

import functools
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import click

from udfs.errors import UsageError
from warehouse.lake.lake import Lake

lake_option = click.option(
    "--lake",
    "lake_dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The lake's folder  [default: CUVEE_LAKE, else the nearest lake/]",
)
project_option = click.option(
    "--project-dir",
    type=click.Path(path_type=Path),
    default=Path("sql"),
    show_default=True,
    metavar="DIR",
    help="The folder of dbt_project.yml",
)


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json`` and ``--quiet``; the command receives ``out``, an Output."""

    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    @click.option("--quiet", "-q", is_flag=True, help="Print the result and errors only.")
    @functools.wraps(command)
    def wrapped(*args: Any, as_json: bool, quiet: bool, **kwargs: Any) -> Any:
        return command(*args, out=Output(as_json=as_json, quiet=quiet), **kwargs)

    return wrapped


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
            if twice := [column for column in columns if list(columns).count(column) > 1]:
                raise UsageError(f"two columns are called {twice[0]}", hint="tell them apart with AS")
            self.json([dict(zip(columns, row, strict=True)) for row in rows])
            return
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
        for index, column in enumerate(columns):
            numeric = bool(rows) and all(isinstance(row[index], int | float | type(None)) for row in rows)
            table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(_cell(value)) for value in row))  # Text: brackets in data are not markup
        self._console(sys.stdout).print(table)

    def json(self, value: object) -> None:
        """Print a value as JSON. Dates and other foreign types become text."""
        click.echo(json.dumps(_finite(value), indent=2, default=_foreign, ensure_ascii=False, allow_nan=False))

    def text(self, line: str) -> None:
        """Print a line of the result. Silent under --json: there the result is one JSON value."""
        if not self.as_json:
            click.echo(line)

    def note(self, line: str) -> None:
        """Print a note about the result, on standard error; silent with --quiet."""
        if not self.quiet:
            click.echo(line, err=True)

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
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Bars(*columns, console=self._console(sys.stderr), transient=True) as bars:
            task = bars.add_task(what, total=total, note="")

            class Bar:
                def advance(self, amount: float = 1, note: str | None = None) -> None:
                    bars.advance(task, amount)
                    if note is not None:
                        bars.update(task, note=note)

            yield Bar()

    @staticmethod
    def _console(stream: Any) -> Any:
        from rich.console import Console

        # On a pipe a table is as wide as its content: a program or a page reads it, not an 80-column screen.
        width = None if stream.isatty() else 10_000
        return Console(file=stream, width=width, no_color=bool(os.environ.get("NO_COLOR")) or None, highlight=False)


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
            click.echo(f"{self._what}: {self._done:,.0f}{of} {self._unit} {note or ''}".rstrip(), err=True)


def _finite(value: object) -> object:
    """Replace what JSON has no number for (NaN, infinities) by null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def _foreign(value: object) -> str:
    """Return a value of a type that JSON does not know as text; bytes as hex digits."""
    return value.hex() if isinstance(value, bytes) else str(value)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    # A cell of many lines would be padded to its longest on each: off a terminal that made 71 MB of 0.9 MB of text.
    return str(value) if sys.stdout.isatty() else str(value).replace("\n", "\\n")
