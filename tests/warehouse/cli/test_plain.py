"""Foreign control characters never reach a terminal: in tables, reports, progress, errors, whatever the command."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import CUVEE
from warehouse.cli.plain import plain
from warehouse.cli.tables import to_json
from warehouse.lake.lake import Lake

#: Sets the title of a window, clears the screen, and what they are in one character each; the bell; back to the left.
EVIL = "\x1b]0;owned\x07\x1b[2J\x9d0;owned\x9c\x9b2J\rnew"
#: What commands of ours write on purpose: colours, the cursor's place, what is erased, modes of the terminal.
OURS = re.compile(r"\x1b\[[0-9;?]*[mABCDGHJKhl]")


def on_terminal(folder: Path, *arguments: str, typed: str = "") -> str:
    """What a command writes on a terminal, standard output and error together."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "400", "CI": "", "NO_COLOR": ""}
    process = subprocess.Popen(
        [*CUVEE, *arguments], cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    )
    os.close(theirs)
    if typed:
        os.write(ours, typed.encode())
    found = b""
    poll = select.poll()  # select() refuses file numbers above 1,023, which a long run of tests has
    poll.register(ours)
    while True:
        assert poll.poll(600_000), "the command neither writes nor ends"
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:  # Linux says so at the end
            break
        if not piece:
            break
        found += piece
    os.close(ours)
    process.wait()
    return found.decode(errors="surrogateescape")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project, and files whose names, texts, ids, URLs and columns a terminal would obey."""
    folder = tmp_path_factory.mktemp("evil")
    Lake.create(folder / "lake")
    (folder / "dbt_project.yml").write_text("name: p\nversion: '1'\nprofile: p\nvars: {cuvee: {labelers: [fake]}}\n")
    (folder / "models").mkdir()
    (folder / "models" / "m.sql").write_text(f"select '{EVIL}' as \"{EVIL}\"\n")
    broken = "{{ config(materialized='table') }} select error('" + EVIL + "') as a\n"
    (folder / "models" / "broken.sql").write_text(broken)
    record = {"text": f"A text. {EVIL}", "id": EVIL, "url": f"https://example.org/{EVIL}", EVIL: EVIL}
    lines = [json.dumps(record), json.dumps({"text": 3, "id": EVIL}), f'{{"text": "{EVIL}'] * 2
    (folder / f"d{EVIL}.jsonl").write_text("\n".join(lines))
    (folder / f"x{EVIL}.parquet").write_text("PAR1 no parquet")
    (folder / f"{EVIL}.yaml").write_text(f"{EVIL}: 1\n")
    return folder


def test_no_command_lets_a_control_character_through(place: Path) -> None:
    """Each writes what is foreign somewhere, which the last line checks."""
    commands: list[list[str]] = [
        ["ingest", f"d{EVIL}.jsonl", f"x{EVIL}.parquet", "--source", "s"],
        ["ingest", f"no{EVIL}.jsonl"],
        ["sql", "select * from raw.documents join raw.occurrences using (doc_id)"],
        ["sql", "--csv", "from raw.occurrences"],
        ["sql", "--json", "from raw.occurrences"],
        ["sql", "--format", "markdown", "from raw.occurrences"],
        ["sql", f'from "{EVIL}"'],
        ["sql", f"select error('{EVIL}')"],
        ["build", "--select", "m", "broken"],
        ["show", "m"],
        ["label", f"d{EVIL}.jsonl", "--labeler", "fake"],
        ["label", f"d{EVIL}.jsonl", "--labeler", EVIL],
        ["anneal", f"{EVIL}.yaml"],
        ["forget", f"https://nowhere.org/{EVIL}", "--plan"],
        ["lake", "--lake", f"no{EVIL}"],
        [f"no{EVIL}"],
        ["ls", f"--no{EVIL}"],
    ]
    for arguments in commands:
        text = OURS.sub("", on_terminal(place, *arguments))
        left = re.sub(r"[\t\n]|\r\n", "", text.replace("\r\r\n", "\n"))
        found = re.findall(r"[\x00-\x1f\x7f-\x9f]", left)
        assert not [each for each in found if each != "\r"], (arguments, text)
        assert "owned" in text, (arguments, text)
        assert "\rnew" not in text, (arguments, text)


def test_the_shell_shows_control_characters(place: Path) -> None:
    text = on_terminal(place, "sql", typed="select chr(27) || ']0;ow' || 'ned' as a;\nexit\n")
    assert "owned" in text and "\x1b]0;owned" not in text


@given(st.text(alphabet=st.characters()))
def test_plain_keeps_all_but_control_characters(text: str) -> None:
    shown = plain(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)
    shown.encode()
    if not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", text):
        assert shown == text


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_json_means_the_same(text: str) -> None:
    written = to_json({"a": text})
    assert json.loads(written) == {"a": text}
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", written)
