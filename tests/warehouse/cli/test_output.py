"""Results in a terminal and in a pipe: what is cut and counted, and what NULL and nested values look like."""

from __future__ import annotations

import datetime
import io
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout

import pytest

from warehouse.cli.output import Output, coloured
from warehouse.cli.project.build import report
from warehouse.cli.tables import View, write_csv, write_markdown
from warehouse.project.results import NodeResult

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    """A terminal that keeps what is printed."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def a_terminal_of_60_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"COLUMNS": "60", "LINES": "24", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)


def printed(write: Callable[[], None], screen: io.StringIO) -> str:
    with redirect_stdout(screen):
        write()
    return screen.getvalue()


def on_terminal(columns: Sequence[str], rows: Iterable[Sequence[object]], view: View) -> str:
    return printed(lambda: Output().result(columns, rows, view), Terminal())


def in_pipe(columns: Sequence[str], rows: Iterable[Sequence[object]], view: View) -> str:
    return printed(lambda: Output().result(columns, rows, view), io.StringIO())


def test_a_terminal_gets_what_fits_and_a_count_of_the_rest() -> None:
    rows = [(number, "a long text " * 1000, "日本" * 50) for number in range(223)]
    text = ESCAPES.sub("", on_terminal(("n", "text", "kanji"), rows, View()))
    lines = text.splitlines()
    assert all(len(line) <= 60 for line in lines), text
    assert sum("a long text" in line for line in lines) == 40 and text.count("…") == 82
    assert "… 80 values cut (--json shows them)" in lines and lines[-1] == "… 183 more rows (--all shows them)"
    assert "more row" not in on_terminal(("n",), rows_of(223), View(most=None))
    assert on_terminal(("n",), rows_of(41), View()).endswith("… 1 more row (--all shows them)\x1b[0m\n")


def rows_of(count: int) -> Iterable[tuple[int]]:
    return ((number,) for number in range(count))


def test_columns_without_room_are_counted() -> None:
    columns = [f"column_{number}" for number in range(20)]
    text = ESCAPES.sub("", on_terminal(columns, [["some words"] * 20], View(see_whole="\\x")))
    kept = text.count("column_")
    assert 2 < kept < 20 and all(len(line) <= 60 for line in text.splitlines())
    assert f"{20 - kept} columns left out (\\x shows them)" in text


def test_characters_of_a_document_do_not_move_the_cursor() -> None:
    text = on_terminal(("text",), [("a\nb\x1b[2Jc\r\x07",)], View())
    assert r"a\nb�[2Jc\r�" in text
    text = on_terminal(("text",), [("a\nb\x1b[2Jc",)], View(expanded=True))
    assert text.endswith("text  a\n      b\\x1b[2Jc\n")


def test_null_is_not_an_empty_text() -> None:
    text = on_terminal(("a", "b", "c"), [(None, "", "NULL")], View())
    assert "\x1b[2mNULL\x1b[0m" in text and text.count("NULL") == 2


NESTED = ({"x": 1, "y": [datetime.date(2020, 1, 1), None]}, [b"\x01", float("nan")], {datetime.date(2020, 1, 1): True})


def test_a_pipe_gets_everything() -> None:
    lines = in_pipe(("a", "b", "c", "d"), [(None, "", "x" * 500, True)] * 100, View()).splitlines()
    assert [line.split() for line in lines].count(["NULL", "x" * 500, "true"]) == 100
    line = in_pipe(("a", "b", "c"), [NESTED], View()).splitlines()[3]
    assert line.split("   ") == [' {"x": 1, "y": ["2020-01-01", null]}', '["01", null]', '{"2020-01-01": true} ']


def test_one_value_to_a_line() -> None:
    text = in_pipe(("id", "text"), [(1, "a\nb"), (None, "")], View(expanded=True))
    assert text == "── row 1 ──\nid    1\ntext  a\n      b\n── row 2 ──\nid    NULL\ntext  \n"


def test_csv_tells_null_from_an_empty_text() -> None:
    rows = [(None, "", 0.1), ('say "no"', "two\nlines", [1, None])]
    assert (
        printed(lambda: write_csv(("a", "b,", "c"), rows), io.StringIO())
        == 'a,"b,",c\n,"",0.1\n"say ""no""","two\nlines","[1, null]"\n'
    )


def test_markdown() -> None:
    text = printed(lambda: write_markdown(("n", "text"), [(1, "a|b\nc"), (None, "")]), io.StringIO())
    assert text == "| n | text |\n| ---: | --- |\n| 1 | a\\|b<br>c |\n| NULL |  |\n"


def test_a_report_is_not_cut() -> None:
    rows = [("orders", "its SQL changed " * 20), ("stores", None)]
    text = printed(lambda: Output().rows(("node", "why"), rows), Terminal())
    assert text.count("changed") == 20 and "NULL" not in text


def reported(screen: io.StringIO, *statuses: str) -> str:
    results = [NodeResult(node=f"test.{status}", name=status, kind="test", status=status) for status in statuses]
    return printed(lambda: report(Output(), results, 1), screen)


def test_what_became_of_nodes_has_colours_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = reported(Terminal(), "pass", "warn", "skipped")
    assert text == "\x1b[32m1 pass\x1b[0m, \x1b[33m1 warn\x1b[0m, 1 skipped in 1.00 s\n"
    assert coloured("x", "error") == coloured("x", "fail") == "\x1b[31mx\x1b[0m"
    assert reported(io.StringIO(), "pass", "warn") == "1 pass, 1 warn in 1.00 s\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert reported(Terminal(), "pass", "warn") == "1 pass, 1 warn in 1.00 s\n"
