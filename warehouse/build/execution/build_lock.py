"""The lock of a lake's builds: they change it one at a time, and do not wait for each other's answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warehouse.lake.lake import Lake


class BuildLock:
    """The right to build, which one process has at a time. It ends with the process.

    A build that asks an expensive function may do so for days: meanwhile others may build, and ask too.
    """

    def __init__(self, lake: Lake, say: Callable[[str], None]) -> None:
        from filelock import FileLock

        self._lock = FileLock(lake.root / "build.lock")
        self._say = say

    def __enter__(self) -> BuildLock:
        self._acquire("another build of this lake is running; waiting for it")
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    @contextmanager
    def given_up(self) -> Iterator[None]:
        """Let others build. Nothing of this build is half done then. The lock comes back unless the build is over,
        as it is after Ctrl-C.
        """
        self._lock.release()
        try:
            yield
        except Exception:
            self._acquire("another build of this lake is running; waiting for it before going on")
            raise
        self._acquire("another build of this lake is running; waiting for it before building what was answered for")

    def _acquire(self, why: str) -> None:
        from filelock import Timeout

        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            self._say(why)
            self._lock.acquire()
