"""The session of `cuvee sql`, in a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import termios
import time
from pathlib import Path

from tests.helpers import CUVEE
from warehouse.lake.lake import Lake

SHELL = [*CUVEE, "sql"]


class Terminal:
    """A cuvee sql in a terminal of its own."""

    def __init__(self, lake: Lake, home: Path) -> None:
        self.screen, inside = pty.openpty()
        environment = os.environ | {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "NO_COLOR": "1", "TERM": "dumb"}
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
        return before

    def type(self, keys: str) -> None:
        os.write(self.screen, keys.encode())


def test_a_session(lake: Lake, tmp_path: Path) -> None:
    terminal = Terminal(lake, tmp_path)
    terminal.until("cuvee> ")
    terminal.type("select 6 *\n")
    terminal.until("   ... ")
    terminal.type("7 as answer;\n")
    assert "42" in terminal.until("cuvee> ")
    terminal.type("select ';' as a,\n")
    terminal.until("   ... ")
    time.sleep(0.5)  # Python loses a signal between its prompt and its wait for keys
    terminal.type("\x03")  # Ctrl-C drops what was typed
    terminal.until("cuvee> ")
    terminal.type("select nothing;\n")
    assert "error" in terminal.until("cuvee> ")
    terminal.type("select count(*) as files from raw.fil\t;\n")
    assert "0" in terminal.until("cuvee> ").split("files")[-1]
    terminal.type("\x04")
    assert terminal.process.wait(30) == 0
    again = Terminal(lake, tmp_path)
    again.until("cuvee> ")
    again.type("\x10\n")  # the line before, from the history
    assert "raw.files" in again.until("cuvee> ")
    again.type("exit\n")
    assert again.process.wait(30) == 0


def test_a_statement_from_a_pipe(lake: Lake) -> None:
    done = subprocess.run(
        [*SHELL, "--lake", str(lake.root), "--json"], input="select 1 as a", capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["[", "{", '"a":', "1", "}", "]"]
    empty = subprocess.run([*SHELL, "--lake", str(lake.root)], input=" ;", capture_output=True, text=True, check=False)
    assert empty.returncode == 2 and "empty" in empty.stderr
