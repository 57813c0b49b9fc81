"""Processes that read folders with StreamingDataset, for the tests of shared memory.

python reader.py FOLDER           starts one dataset, prints its number, reads an epoch for each line of input
python reader.py COUNT FOLDER…    starts COUNT datasets on each folder, in one process per folder at once
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import traceback
from collections.abc import Callable

from streaming import StreamingDataset

from warehouse.mds.shared_memory import exclusive_start


def start(folder: str) -> StreamingDataset:
    """Start a dataset as every reader of the project does."""
    with exclusive_start():
        return StreamingDataset(local=folder, batch_size=1, num_canonical_nodes=1)


def read_on(folder: str) -> None:
    """Read until there is no more input."""
    dataset = start(folder)
    print(f"{dataset._shm_prefix_int:06}", flush=True)
    for _ in sys.stdin:
        print(*(sample["text"] for sample in dataset), sep=",", flush=True)


def read_often(folder: str, count: int) -> None:
    """Start a dataset in one process after the other; after every fifth, one is killed before it is ready."""
    for number in range(count):
        wait(fork(lambda: read_once(folder)))
        if number % 5 == 4:
            wait(fork(lambda: die_while_starting(folder)), signal.SIGKILL)


def read_once(folder: str) -> None:
    """Fail if a dataset gives other samples than those of its folder."""
    texts = [sample["text"] for sample in start(folder)]
    assert texts, folder
    assert texts == [f"{folder} {number}" for number in range(len(texts))], texts


def die_while_starting(folder: str) -> None:
    """Leave shared memory and the lock as they are."""
    with exclusive_start():
        dataset = StreamingDataset(local=folder, batch_size=1)
        os.kill(os.getpid(), signal.SIGKILL)
        del dataset


def fork(work: Callable[[], None]) -> int:
    """Work in a process that removes its blocks at its end as any does.

    So the import of Streaming is paid for once, and the teardown of torch (2 s of a core) never.
    """
    if process := os.fork():
        return process
    try:
        work()
        atexit._run_exitfuncs()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def wait(process: int, expected: int = 0) -> None:
    """Fail where the process failed."""
    _, status = os.waitpid(process, 0)
    if status != expected:
        sys.exit(f"ended with {status}")


if __name__ == "__main__":
    if sys.argv[2:]:
        count = int(sys.argv[1])
        for process in [fork(lambda folder=folder: read_often(folder, count)) for folder in sys.argv[2:]]:
            wait(process)
    else:
        read_on(sys.argv[1])
