"""Streaming's shared memory: datasets start one at a time, and what killed processes left of it is removed.

StreamingDataset names its blocks of shared memory by a small number, and all processes of a machine share the numbers.
Each start looks for the lowest free one, for each kind of block by itself. Two starts at the same moment choose the
same number: one fails with FileExistsError, or both use the same blocks. Where a killed process left some kinds of a
number and not others, the next start fails too. Streaming's own cleaning removes the blocks of living processes too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import resource
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from udfs.errors import CuveeError

#: The blocks, on Linux. The lock is there too, so that a process in another container with the same blocks shares it.
BLOCKS = Path("/dev/shm")
#: Seconds that a start waits for others. One may fetch the indexes of many streams from far away.
PATIENCE = 900
#: Seconds in which the resource tracker of a killed process removes blocks by itself.
TRACKER = 0.2

#: Numbers to the files that bear them, each with its inode: the same name may be another process's by now.
_Files = dict[str, dict[Path, int]]
#: Device and inode of a mapped block in /proc/PID/maps, whatever its name is by now.
_MAPPED = re.compile(r" ([0-9a-f]+:[0-9a-f]+) (\d+) +/\S*/\d{6}_")


@contextlib.contextmanager
def exclusive_start(*, leads: bool = True) -> Iterator[None]:
    """Keep other processes of this machine from starting a StreamingDataset; construct yours within.

    Of several ranks on a machine one ``leads``: it holds the lock for all of them. The lock of a process that dies is
    released by the system.
    """
    from filelock import FileLock, Timeout

    _allow_open_files()
    if not leads:
        yield
        return
    path = (BLOCKS if BLOCKS.is_dir() else Path(tempfile.gettempdir())) / "cuvee-streaming.lock"
    lock = FileLock(path, timeout=PATIENCE, poll_interval=0.01)
    try:
        lock.acquire()
    except Timeout as error:
        message = f"another process has been starting a StreamingDataset for {PATIENCE // 60} minutes"
        raise CuveeError(message, hint=f"find it: fuser {path}") from error
    try:
        _clean()
        before = set(BLOCKS.glob("[0-9]*_locals"))
        yield
        _mark_living(set(BLOCKS.glob("[0-9]*_locals")) - before)
    finally:
        lock.release()


def _allow_open_files() -> None:
    """Let this process open as many files as it may.

    Streaming keeps the shared memory of every dataset open until the process ends, some 30 files a run: a sweep of 34
    runs met the usual limit of 1,024.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS names no number
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _mark_living(blocks: Iterable[Path]) -> None:
    """Hold a shared lock on these blocks until this process and its forks have ended; the system releases it.

    A process in another container, or one of whom /proc may tell nothing, is known to live by this alone.
    """
    for block in blocks:
        with contextlib.suppress(OSError):
            fcntl.flock(os.open(block, os.O_RDONLY), fcntl.LOCK_SH)


def _clean() -> None:
    """Remove the blocks and lock files of processes that are gone. Does nothing where /proc cannot tell (macOS)."""
    from streaming.base import constant

    if not Path("/proc/self/maps").exists():
        return
    temporary = Path(tempfile.gettempdir())
    blocks = _numbered(BLOCKS, constant.SHM_TO_CLEAN)
    locks = _numbered(temporary, [constant.BARRIER_FILELOCK, constant.CACHE_FILELOCK])
    dead = (blocks.keys() | locks.keys()) - _living(blocks)
    if dead & blocks.keys():
        time.sleep(TRACKER)  # or the tracker would remove blocks of the next owner of the number
    for files in (blocks, locks):
        for path, inode in [file for number in dead for file in files.get(number, {}).items()]:
            with contextlib.suppress(OSError):  # another user's, or gone
                if path.stat().st_ino == inode:
                    path.unlink()
    for number, paths in _numbered(BLOCKS, constant.SHM_TO_CLEAN).items():
        if not any(path.name.endswith(constant.LOCALS) for path in paths):
            # Kinds of blocks would disagree on the lowest free number. A number with a lock file is passed over.
            (temporary / f"{number}_{constant.BARRIER_FILELOCK}").touch()


def _numbered(folder: Path, kinds: Iterable[str]) -> _Files:
    """Find the files of these kinds."""
    found: _Files = {}
    for path in folder.glob("[0-9]*_*"):
        number, _, kind = path.name.partition("_")
        if len(number) == 6 and number.isdigit() and kind in kinds:
            with contextlib.suppress(OSError):
                found.setdefault(number, {})[path] = path.stat().st_ino
    return found


def _living(blocks: _Files) -> set[str]:
    """Return the numbers of which a process maps a block, or holds the lock of one."""
    found = {number for number, paths in blocks.items() if any(map(_locked, paths))}
    device = BLOCKS.stat().st_dev
    where = f"{os.major(device):02x}:{os.minor(device):02x}"
    numbers = {(where, str(inode)): number for number, paths in blocks.items() for inode in paths.values()}
    for maps in [Path("/proc/self/maps"), *Path("/proc").glob("[0-9]*/maps")]:
        if len(found) == len(blocks):
            break  # nothing to clean: the usual case
        with contextlib.suppress(OSError):
            found.update(numbers[each] for each in _MAPPED.findall(maps.read_text()) if each in numbers)
    return found


def _locked(block: Path) -> bool:
    """Tell whether a process marked this block as living."""
    try:
        descriptor = os.open(block, os.O_RDONLY)
    except OSError:  # another user's, or gone
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
