"""How rows are written for people and programs: as a table, one value to a line, as CSV, markdown or JSON."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import IO, TYPE_CHECKING, Any

import click

from udfs.errors import UsageError
from warehouse.cli.plain import plain, plain_json

if TYPE_CHECKING:
    from rich.console import Console

Row = Sequence[object]

#: Columns that would be narrower than this are left out of a table, and counted.
_NARROW = 8
#: Text of documents holds characters that would move the cursor or end a line. A table shows them in one cell.
_IN_CELL = dict.fromkeys((*range(32), *range(127, 160)), "\ufffd") | {9: "\\t", 10: "\\n", 13: "\\r"}


@dataclass(frozen=True, slots=True)
class View:
    """How the rows of a query are shown on a terminal. Elsewhere they are all shown, and whole."""

    most: int | None = 40
    """At most so many rows; None shows all."""
    expanded: bool = False
    """One value to a line, whole."""
    see_all: str = "--all"
    """What shows all rows."""
    see_whole: str = "--json"
    """What shows values whole."""


def console(stream: IO[str]) -> Console:
    """Make rich's console for a stream."""
    from rich.console import Console

    # On a pipe a table is as wide as its content: a program or a page reads it, not an 80-column screen.
    width = None if stream.isatty() else 10_000
    return Console(file=stream, width=width, no_color=bool(os.environ.get("NO_COLOR")) or None, highlight=False)


def write_report(columns: Sequence[str], rows: Sequence[Row], title: str | None) -> None:
    """Print what a command has to say as a table. Nothing is cut: on a terminal long values go over several lines."""
    _write_whole(columns, rows, title, null="")


def write_rows(columns: Sequence[str], rows: Iterable[Row], view: View) -> None:
    """Print the rows of a query for people. On a terminal what does not fit is cut, and counted behind the table."""
    left = iter(rows)
    on_terminal = sys.stdout.isatty()
    shown = list(islice(left, view.most if on_terminal else None))
    if view.expanded:
        _write_expanded(columns, shown)
    elif on_terminal:
        _write_cut(columns, shown, view)
    else:
        _write_whole(columns, shown)
    if more := sum(1 for _ in left):
        _remark(f"… {counted(more, 'more row')} ({view.see_all} shows them)")


def write_csv(columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Print rows as CSV with a header. NULL is nothing, and an empty text is two quotes."""
    shown = plain if sys.stdout.isatty() else str
    for row in chain([columns], rows):
        sys.stdout.write(shown(",".join(_field(value) for value in row)) + "\n")


def write_markdown(columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Print rows as a table of Markdown."""
    kept = list(rows)
    rule = ("---:" if _side(kept, index) == "right" else "---" for index in range(len(columns)))
    lines = [columns, tuple(rule), *([_exact(value, "NULL") for value in row] for row in kept)]
    for line in lines:
        cells = (text.replace("|", "\\|").replace("\r", "").replace("\n", "<br>") for text in line)
        line = f"| {' | '.join(cells)} |"
        click.echo(plain(line) if sys.stdout.isatty() else line)


def _write_whole(columns: Sequence[str], rows: Sequence[Row], title: str | None = None, null: str = "NULL") -> None:
    from rich.text import Text

    table = _table(title)
    for index, column in enumerate(columns):
        table.add_column(Text(plain(column)), justify=_side(rows, index), overflow="fold")
    for row in rows:
        texts = (plain(_cell(value, null)) for value in row)
        # A cell of many lines would be padded to its longest on each: off a terminal that made 71 MB of 0.9 MB of text.
        cells = texts if sys.stdout.isatty() else (text.replace("\n", "\\n") for text in texts)
        table.add_row(*map(Text, cells))  # Text: brackets in data are not markup
    console(sys.stdout).print(table)


def _write_cut(columns: Sequence[str], rows: Sequence[Row], view: View) -> None:
    """Print a table that is as wide as the window at most, and count what was cut."""
    from rich.cells import cell_len
    from rich.text import Text

    screen = console(sys.stdout)
    longest = 4 * screen.width  # more of a text is never seen, and a document's would take long to measure
    cells = [[_clipped(_cell(value).translate(_IN_CELL), longest) for value in row] for row in rows]
    names = [_clipped(column.translate(_IN_CELL), longest) for column in columns]
    widths = _fit([max(map(cell_len, column)) for column in zip(names, *cells, strict=True)], screen.width)
    table, cut = _table(), 0
    for index, width in enumerate(widths):
        name = Text(names[index])
        table.add_column(name, justify=_side(rows, index), max_width=width, no_wrap=True, overflow="ellipsis")
    for row, texts in zip(rows, cells, strict=True):
        fitting = list(zip(row, texts, widths, strict=False))
        cut += sum(1 for _, text, width in fitting if cell_len(text) > width)
        table.add_row(*(Text(text, style="dim" if value is None else "") for value, text, _ in fitting))
    screen.print(table)
    lost = [counted(cut, "value") + " cut"] if cut else []
    if without := len(columns) - len(widths):
        lost.append(counted(without, "column") + " left out")
    if lost:
        _remark(f"… {', '.join(lost)} ({view.see_whole} shows them)")


def _clipped(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[:longest] + "…"


def _fit(widths: Sequence[int], window: int) -> list[int]:
    """Return the widths of the columns that the window has room for, from the left.

    A column is as wide as its longest value, or as an equal share of what narrower ones leave.
    """
    count = len(widths)

    def room() -> int:
        return window - 3 * count - 1  # what rich draws between columns

    while count > 1 and sum(min(width, _NARROW) for width in widths[:count]) > room():
        count -= 1
    left, fitting = room(), [0] * count
    for rank, index in enumerate(sorted(range(count), key=widths.__getitem__)):
        fitting[index] = max(1, min(widths[index], left // (count - rank)))
        left -= fitting[index]
    return fitting


def _write_expanded(columns: Sequence[str], rows: Sequence[Row]) -> None:
    names = [column.translate(_IN_CELL) for column in columns]
    width = max(map(len, names), default=0)
    for number, row in enumerate(rows, 1):
        _remark(f"── row {number:,} ──")
        for name, value in zip(names, row, strict=True):
            text = plain(_exact(value, "NULL")).replace("\n", "\n" + " " * (width + 2))
            click.echo(f"{name:<{width}}  {_dim(text) if value is None else text}")


def as_objects(columns: Sequence[str], rows: Iterable[Row]) -> list[dict[str, object]]:
    """Return rows as objects for JSON. Raises UsageError if two columns share a name."""
    if twice := [column for column in columns if list(columns).count(column) > 1]:
        raise UsageError(f"two columns are called {twice[0]}", hint="tell them apart with AS")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def to_json(value: object, indent: int | None = None) -> str:
    """Return a value as JSON. Dates and other foreign types become text, and bytes hex digits."""
    return plain_json(json.dumps(_plain(value), indent=indent, default=_foreign, ensure_ascii=False, allow_nan=False))


def _plain(value: object) -> object:
    """Replace what JSON has no number for (NaN, infinities) by null, and keys that it does not know by text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key if isinstance(key, str | int) else _foreign(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _foreign(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _exact(value: object, null: str) -> str:
    """Return a value as text."""
    if value is None:
        return null
    if isinstance(value, bool):
        return "true" if value else "false"
    return to_json(value) if isinstance(value, dict | list | tuple) else _foreign(value)


def _cell(value: object, null: str = "NULL") -> str:
    """Return a value as text for people: a fraction is rounded."""
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return _exact(value, null)


def _dim(text: str) -> str:
    return click.style(text, dim=True)  # click leaves it out where there is no terminal


def _remark(line: str) -> None:
    click.echo(_dim(plain(line)))


def _field(value: object) -> str:
    if value is None:
        return ""
    text = _exact(value, "")
    quoted = not text or any(character in text for character in ',"\r\n')
    return '"' + text.replace('"', '""') + '"' if quoted else text


def _side(rows: Sequence[Row], index: int) -> Any:
    numeric = bool(rows) and all(isinstance(row[index], int | float | type(None)) for row in rows)
    return "right" if numeric else "left"


def counted(number: int, thing: str) -> str:
    """Say how many there are of a thing."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _table(title: str | None = None) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = None if title is None else Text(plain(title), style="table.title")  # Text: brackets are not markup
    return Table(box=box.SIMPLE_HEAD, title=shown, title_justify="left", pad_edge=False)
