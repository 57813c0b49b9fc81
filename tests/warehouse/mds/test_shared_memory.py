"""Datasets start one at a time on a machine; of what others left only that of dead processes is removed."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from warehouse.mds.shared_memory import BLOCKS, exclusive_start
from warehouse.mds.writer import ShardWriter

pytest.importorskip("streaming")
pytestmark = pytest.mark.skipif(not BLOCKS.is_dir(), reason="only Linux shows who uses a block")

READER = Path(__file__).with_name("reader.py")


def shards(folder: Path, samples: int = 5) -> Path:
    with ShardWriter(folder, {"text": "str"}) as writer:
        writer.write(pa.record_batch({"text": [f"{folder} {number}" for number in range(samples)]}))
    return folder


def blocks(number: str) -> dict[str, int]:
    """The blocks of a number, with their inodes."""
    return {path.name: path.stat().st_ino for path in BLOCKS.glob(f"{number}_*")}


@contextmanager
def reader(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that reads, and its number."""
    process = subprocess.Popen(
        [sys.executable, str(READER), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin
    assert process.stdout
    with process:
        yield process, process.stdout.readline().strip()


@pytest.mark.parametrize("starts", [pytest.param(200, marks=pytest.mark.prove), 24])
def test_processes_start_at_once_and_each_reads_its_own(tmp_path: Path, starts: int) -> None:
    folders = [shards(tmp_path / f"{number}", 3 + number) for number in range(4)]
    command = [sys.executable, str(READER), str(starts // 4), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr


def test_what_a_killed_process_left_is_removed_and_a_living_reader_reads_on(tmp_path: Path) -> None:
    from streaming import StreamingDataset

    folder = shards(tmp_path / "living")
    with reader(folder) as (living, number), reader(shards(tmp_path / "killed")) as (killed, left):
        theirs, leftovers = blocks(number), blocks(left)
        assert len(theirs) == len(leftovers) == 6
        os.killpg(killed.pid, signal.SIGKILL)  # and its resource tracker, which would clean up
        killed.wait()
        assert blocks(left) == leftovers
        (BLOCKS / f"{left}_locals").unlink()  # of a number in parts, kinds disagree on whether it is free
        with exclusive_start():
            dataset = StreamingDataset(local=str(tmp_path / "killed"), batch_size=1)
        assert not blocks(left).items() & leftovers.items()
        assert len(dataset) == 5
        assert blocks(number) == theirs
        (BLOCKS / f"{number}_locals").unlink()  # as if the first of several ranks had died
        with exclusive_start():
            dataset = StreamingDataset(local=str(tmp_path / "killed"), batch_size=1)
        assert f"{dataset._shm_prefix_int:06}" != number
        assert (Path(tempfile.gettempdir()) / f"{number}_barrier_filelock").exists(), "the number is passed over"
        assert living.stdin
        assert living.stdout
        living.stdin.write("\n")
        living.stdin.flush()
        assert living.stdout.readline().strip().split(",") == [f"{folder} {sample}" for sample in range(5)]
        os.killpg(living.pid, signal.SIGKILL)  # at its end it would remove a block that may be another's by then


def test_a_marked_block_stays_though_no_process_shows_it() -> None:
    """As if its process were in another container."""
    block = BLOCKS / f"{900_000 + os.getpid() % 100_000}_locals"
    block.write_bytes(bytes(8))
    with block.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        with exclusive_start():
            assert block.exists()
    with exclusive_start():
        assert not block.exists()
