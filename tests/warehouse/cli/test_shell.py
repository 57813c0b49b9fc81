"""The session of `cuvee sql`, in a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import CUVEE
from warehouse.lake.lake import Lake

SHELL = [*CUVEE, "sql"]


READY = "\x1b[?2004h"  # what the editor tells the terminal when it begins to wait for keys
HISTORY_BEFORE = "\x10"


class Terminal:
    """A cuvee sql in a terminal of its own."""

    def __init__(self, lake: Lake, home: Path) -> None:
        self.screen, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        environment = os.environ | {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "TERM": "xterm"}
        environment |= {"NO_COLOR": "1", "PROMPT_TOOLKIT_NO_CPR": "1"}  # nobody here says where the cursor is
        command = [*SHELL, "--lake", str(lake.root)]
        self.process = subprocess.Popen(
            command, stdin=inside, stdout=inside, stderr=inside, env=environment, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # Ctrl-C reaches who owns the terminal
        )  # fmt: skip
        os.close(inside)
        self.ready = select.poll()
        self.ready.register(self.screen, select.POLLIN)
        self.text = ""

    def until(self, expected: str) -> str:
        """What appears up to ``expected``."""
        ends = time.monotonic() + 60
        while expected not in self.text:
            assert time.monotonic() < ends, self.text
            if self.ready.poll(1000):
                self.text += os.read(self.screen, 65536).decode()
        before, _, self.text = self.text.partition(expected)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", before)

    def type(self, keys: str) -> None:
        os.write(self.screen, keys.encode())

    def answer(self, keys: str) -> str:
        """What a statement and Enter show, up to the next prompt; what is typed is a part of it."""
        self.type(f"{keys}\r")
        return self.until(READY)

    def ends(self) -> bool:
        return self.process.wait(30) == 0


@pytest.fixture
def terminal(lake: Lake, tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(lake, tmp_path)
    opened.until(READY)
    yield opened
    opened.process.kill()
    opened.process.wait()
    os.close(opened.screen)


def test_a_session(terminal: Terminal, lake: Lake, tmp_path: Path) -> None:
    terminal.type("select 6 *\r")
    terminal.until("   ...")
    assert "42" in terminal.answer("7 as answer;")
    terminal.type("select ';' as a,\r")
    terminal.until("   ...")
    terminal.type("\x03")  # Ctrl-C drops what was typed
    terminal.until(READY)
    assert "error" in terminal.answer("select nothing;")
    assert "checksum" in terminal.answer("select * from raw.fil\t;")
    terminal.type("\x04")
    assert terminal.ends()
    again = Terminal(lake, tmp_path)
    again.until(READY)
    assert "raw.files" in again.answer(HISTORY_BEFORE)
    assert "42" in again.answer(HISTORY_BEFORE * 3)  # both lines are one entry
    again.type("exit\r")
    assert again.ends()
    os.close(again.screen)


def test_enter_sends_what_the_parser_takes_as_whole(terminal: Terminal) -> None:
    for typed, shown in {
        "select $x$it's;$x$ as a;": " it's; ",
        r"select E'it\'s' as a;": " it's ",
        "selec 'a;b';": "syntax error",
        "select 1 as a; select 7 * 11 as b;": " 77 ",
        "select 7 * 11 as a; -- done": " 77 ",
        "\\al": "did you mean \\all?",
    }.items():
        assert shown in terminal.answer(typed)
    for typed, end in {
        "select 7 * 11 as a -- ;": ";",
        "select 7 * 11 /* ; */ as a": ";",
        "select 7 * 11 as a, 'b;": "' as b;",
        "select 7 * 11 as a; /* ;": "*/",
    }.items():
        terminal.type(f"{typed}\r")
        terminal.until("   ...")
        assert " 77 " in terminal.answer(end)


def test_commands_change_what_is_shown(terminal: Terminal) -> None:
    assert "(\\all shows them)" in terminal.answer("from range(50);")
    assert "all rows" in terminal.answer("\\all")
    assert " 49 " in terminal.answer("from range(50);")
    terminal.answer("\\x")
    assert "name  NULL" in terminal.answer("select null as name;")


def test_ctrl_c_stops_a_query_and_the_session_goes_on(terminal: Terminal) -> None:
    terminal.type("select count(*) from range(100000000000) as a, range(1000) as b;\r")
    terminal.until("\x1b[?2004l")
    time.sleep(0.5)  # the query has begun
    terminal.type("\x03")
    assert "interrupted" in terminal.until(READY)
    assert " 5 " in terminal.answer("select 2 + 3 as a;")


def test_a_statement_from_a_pipe(lake: Lake) -> None:
    done = subprocess.run(
        [*SHELL, "--lake", str(lake.root), "--json"], input="select 1 as a", capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["[", "{", '"a":', "1", "}", "]"]
    empty = subprocess.run([*SHELL, "--lake", str(lake.root)], input=" ;", capture_output=True, text=True, check=False)
    assert empty.returncode == 2 and "empty" in empty.stderr
