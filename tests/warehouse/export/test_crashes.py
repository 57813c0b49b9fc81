"""An export that is killed at any moment is finished by the next one, byte for byte, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.warehouse.export.helpers import add_tokenizer
from udfs.tokens.tokenizer import Tokenizer
from warehouse.export.verify import verify
from warehouse.lake.lake import Lake


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.warehouse.export.many_units", "blend", "--out", str(folder / "out")]
    options = ["--tokenizer", "demo", "--sequence-length", "16", "--lake", str(folder / "lake"), "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"}
    return subprocess.Popen(command + options, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)


def content(folder: Path) -> dict[str, bytes]:
    """The export's files. The time and the place are the only things that two exports of the same may differ in."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    manifest = json.loads(files["manifest.json"])
    del manifest["exported_at"]
    files["manifest.json"] = json.dumps(manifest).encode()
    files["streams.yaml"] = files["streams.yaml"].replace(str(folder).encode(), b"OUT")
    return files


def units(folder: Path) -> set[str]:
    return {path.parent.name for path in (folder / "lake" / "shards").rglob("unit.json")}


def killed_after(folder: Path, fresh: Path, delay: float) -> bool:
    """Begin an export in a copy of ``fresh`` and kill it; False if it had ended by then."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(fresh, folder)
    process = start(folder)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    return process.wait() != 0


@pytest.fixture
def unbroken(blended: Lake, bpe: Tokenizer, tmp_path: Path) -> tuple[Path, float]:
    """A finished export beside its lake, and how long it took; ``tmp_path/fresh`` is the lake before it."""
    add_tokenizer(blended, "demo", bpe)
    for name in ("fresh", "unbroken"):
        shutil.copytree(blended.root, tmp_path / name / "lake")
    began = time.monotonic()
    assert start(tmp_path / "unbroken").wait() == 0
    return tmp_path / "unbroken", time.monotonic() - began


@pytest.mark.parametrize("kills", [5, pytest.param(30, marks=[pytest.mark.prove, pytest.mark.timeout(3600)])])
def test_killed_and_run_again(unbroken: tuple[Path, float], tmp_path: Path, kills: int) -> None:
    finished, seconds = unbroken
    expected = content(finished / "out")
    assert verify(finished / "out").faults == ()
    chance = random.Random(kills)
    for number in range(kills):
        folder = tmp_path / f"killed-{number}"
        # The first half is start-up and planning; most kills should fall on writing.
        delay = seconds * chance.uniform(0.35, 1.0)
        while not killed_after(folder, tmp_path / "fresh", delay):
            delay *= 0.8  # it had ended before: the machine was slower when the unbroken one was timed
        lake = Lake.open(folder / "lake")
        row = lake.cursor().execute("select count(*) from exports.exports").fetchone()
        assert row in ((0,), (1,))
        if row == (1,):
            assert verify(folder / "out").faults == (), "what the lake knows of is complete"
        kept = units(folder)
        assert start(folder).wait() == 0
        assert content(folder / "out") == expected
        assert kept <= units(folder) == units(finished), "finished units stay, and there are no others"
        assert sorted(path.name for path in folder.iterdir()) == ["lake", "out"]
        assert not [path for path in (folder / "lake" / "staging").iterdir() if path.is_dir() and path.name != "spill"]
        cursor = lake.cursor()
        assert cursor.execute("select count(*) from exports.exports").fetchone() == (1,)
        rows = cursor.execute("select count(*), count(distinct sample_id) from exports.samples").fetchone()
        theirs = Lake.open(finished / "lake").cursor()
        assert rows == theirs.execute("select count(*), count(distinct sample_id) from exports.samples").fetchone()
        shutil.rmtree(folder)
