"""Leases divide inputs among several builds, so that no input is paid for twice.

An input's key is the beginning of a SHA-256. A lease is a range of prefixes (the first four hex digits) of one
function's inputs, by its fingerprint. A build that answers holds one:

- *Taking.* A build takes the whole gap between the others' leases in which most of its inputs are; alone, that is
  everything, and texts are read in one scan. It looks its inputs up once more: the previous holder of that range has
  committed what it sent.
- *Sharing.* A build that finds everything leased asks the holder for a share. The holder sends no more of the upper
  half of its range, waits until what it has sent of it is committed, and gives the half up.
- *Dying.* A holder renews its lease and holds a lock that the operating system releases when the process ends, however
  it ends. A lease without its lock, or past its time (a process that was stopped), is free.

Leases are rows of ``leases.sqlite`` in the lake, and each of these steps is one transaction that SQLite lets one
process do at a time (BEGIN IMMEDIATE). They need not outlive a power cut, so nothing waits for the disk: a lease costs
less than a millisecond, where a row in the lake's catalog takes 35 ms and the catalog's lock. A SQLite catalog is
used from one machine only (its write-ahead log is shared memory); a lake with a catalog in PostgreSQL would keep the
same table there, without the locks.
"""

from __future__ import annotations

import bisect
import contextlib
import sqlite3
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

#: Prefixes that an input's key may have: four hex digits.
PREFIXES = 1 << 16
#: Seconds for which a lease holds unless it is renewed.
SECONDS = 60.0
#: Seconds between two checks whether another build wants a share.
LOOK = 0.25
#: A range with fewer inputs left is not shared.
_WORTH_SHARING = 16

_HEX = frozenset("0123456789abcdef")
_TABLE = """create table if not exists leases (
    fingerprint text, holder text, low integer, high integer, expires real, wanted integer,
    primary key (fingerprint, holder))"""


@dataclass(frozen=True, slots=True)
class Lease:
    """The inputs of one function whose prefixes are from ``low`` up to, not including, ``high``."""

    fingerprint: str
    holder: str
    low: int
    high: int

    def holds(self, column: str) -> str:
        """Return the SQL condition that a key is in the range."""
        low, high = _bound(self.low), _bound(self.high)
        parts = [f"{column} >= '{low}'"] if low else []
        parts += [f"{column} < '{high}'"] if high else []
        return " and ".join(parts) or "true"


def prefix_of(key: str) -> int:
    """Return the prefix of a key. Keys that are not hex digits are between those that are, by their order.

    >>> prefix_of("00ff12"), prefix_of("0100"), prefix_of("?"), prefix_of("zebra")
    (255, 256, 40959, 65535)
    """
    start = key[:4]
    if len(start) == 4 and _HEX.issuperset(start):
        return int(start, 16)
    return max(0, bisect.bisect_right(range(PREFIXES), start, key=lambda prefix: f"{prefix:04x}") - 1)


def _bound(prefix: int) -> str | None:
    """Return the first key with a prefix; None below the first prefix and above the last."""
    return f"{prefix:04x}" if 0 < prefix < PREFIXES else None


class Leases:
    """The leases of a lake, as one build uses them. ``root`` is the lake's folder."""

    def __init__(self, root: Path, seconds: float = SECONDS) -> None:
        from filelock import FileLock

        self.seconds = seconds
        self.holder = uuid.uuid4().hex
        self._folder = root / "leases"
        self._folder.mkdir(exist_ok=True)
        self._lock = FileLock(self._folder / f"{self.holder}.lock", thread_local=False)
        self._lock.acquire()
        self._mutex = threading.Lock()
        # The catalog is DuckDB's alone (warehouse.lake.lake); this file is Python's alone.
        self._connection = sqlite3.connect(
            root / "leases.sqlite", isolation_level=None, check_same_thread=False, timeout=60
        )
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute("pragma synchronous = off")
        self._connection.execute(_TABLE)

    def close(self) -> None:
        """Give up everything."""
        with self._writing() as connection:
            connection.execute("delete from leases where holder = ?", [self.holder])
        self._connection.close()
        self._lock.release()
        Path(self._lock.lock_file).unlink(missing_ok=True)

    def take(self, fingerprint: str, counts: Mapping[int, int]) -> Lease | None:
        """Lease the gap with most of the wanted inputs, ``counts`` by prefix. Returns None if others hold them all."""
        with self._writing() as connection:
            gap = _fullest(_gaps(self._living(connection, fingerprint)), counts)
            if gap is None:
                return None
            connection.execute(
                "insert or replace into leases values (?, ?, ?, ?, ?, 0)",
                [fingerprint, self.holder, *gap, time.time() + self.seconds],
            )
        return Lease(fingerprint, self.holder, *gap)

    def is_free(self, fingerprint: str, counts: Mapping[int, int]) -> bool:
        """Return whether ``take`` would find something."""
        with self._writing() as connection:
            return _fullest(_gaps(self._living(connection, fingerprint)), counts) is not None

    def ask_for_share(self, fingerprint: str, counts: Mapping[int, int]) -> None:
        """Tell the holder of most of the wanted inputs that this build would answer some."""
        with self._writing() as connection:
            held = [(lease.low, lease.high) for lease in self._living(connection, fingerprint)]
            if wanted := _fullest(held, counts):
                connection.execute(
                    "update leases set wanted = 1 where fingerprint = ? and low = ?", [fingerprint, wanted[0]]
                )

    def renew(self, lease: Lease) -> bool | None:
        """Renew a lease. Returns whether another build wants a share of it, or None if it is lost."""
        with self._writing() as connection:
            row = connection.execute(
                "update leases set expires = ? where fingerprint = ? and holder = ? and low = ? returning wanted",
                [time.time() + self.seconds, lease.fingerprint, lease.holder, lease.low],
            ).fetchone()
        return None if row is None else bool(row[0])

    def shorten(self, lease: Lease, high: int) -> None:
        """Give up a lease from prefix ``high`` on."""
        with self._writing() as connection:
            connection.execute(
                "update leases set high = ?, wanted = 0 where fingerprint = ? and holder = ?",
                [high, lease.fingerprint, lease.holder],
            )

    def release(self, lease: Lease) -> None:
        """Give up a lease."""
        with self._writing() as connection:
            connection.execute(
                "delete from leases where fingerprint = ? and holder = ?", [lease.fingerprint, lease.holder]
            )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction that no other process or thread has at the same time."""
        with self._mutex:
            self._connection.execute("begin immediate")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("rollback")
                raise
            self._connection.execute("commit")

    def _living(self, connection: sqlite3.Connection, fingerprint: str) -> list[Lease]:
        """Return the others' leases of a function. Removes those whose holder is gone."""
        living = []
        rows = connection.execute(
            "select holder, low, high, expires from leases where fingerprint = ? and holder <> ? order by low",
            [fingerprint, self.holder],
        ).fetchall()
        for holder, low, high, expires in rows:
            if expires > time.time() and self._is_alive(holder):
                living.append(Lease(fingerprint, holder, low, high))
            else:
                connection.execute("delete from leases where fingerprint = ? and holder = ?", [fingerprint, holder])
        return living

    def _is_alive(self, holder: str) -> bool:
        from filelock import FileLock, Timeout

        path = self._folder / f"{holder}.lock"
        if not path.exists():
            return False
        try:
            with FileLock(path, timeout=0):
                path.unlink(missing_ok=True)
                return False
        except Timeout:
            return True


def _gaps(leases: Collection[Lease]) -> list[tuple[int, int]]:
    """Yield the ranges that no lease covers."""
    gaps, low = [], 0
    for lease in leases:
        if lease.low > low:
            gaps.append((low, lease.low))
        low = max(low, lease.high)
    return [*gaps, (low, PREFIXES)] if low < PREFIXES else gaps


def _fullest(ranges: Collection[tuple[int, int]], counts: Mapping[int, int]) -> tuple[int, int] | None:
    """Return the range with the most inputs; None if all are empty."""
    best, most = None, 0
    for low, high in ranges:
        found = sum(n for prefix, n in counts.items() if low <= prefix < high)
        if found > most:
            best, most = (low, high), found
    return best


class Share:
    """A lease in use: selects the inputs that may be sent, and gives up a part when another build asks for it.

    ``inputs`` is how many there are to send. Inputs pass ``admit`` before they are sent and ``settle`` when their
    answers are committed. ``watch`` is called now and then, by any thread.
    """

    def __init__(self, leases: Leases, lease: Lease, inputs: int) -> None:
        self._leases, self._lease = leases, lease
        self._left = inputs
        self._low, self._high = _bound(lease.low), _bound(lease.high)
        self._cut: int | None = None
        self._sent: set[str] = set()
        self._mutex = threading.Lock()
        self.lost = False

    @property
    def hurried(self) -> bool:
        """Return whether another build waits for what was sent to be committed."""
        return self._cut is not None

    def admit(self, batch: pa.RecordBatch, grant: int | None = None) -> pa.RecordBatch:
        """Return the rows of a batch (``INPUT_SCHEMA``) that may be sent, at most ``grant``. They count as sent."""
        with self._mutex:
            if self.lost:
                return batch.slice(0, 0)
            if self._low is not None:
                batch = batch.filter(pc.greater_equal(batch["key"], self._low))
            if self._high is not None:
                batch = batch.filter(pc.less(batch["key"], self._high))
            if grant is not None:
                batch = batch.slice(0, grant)
            self._left -= batch.num_rows
            self._sent.update(batch["key"].to_pylist())
            return batch

    def settle(self, keys: Collection[str]) -> None:
        """Note that the answers to these inputs are committed."""
        with self._mutex:
            self._sent.difference_update(keys)

    def watch(self) -> None:
        """Renew the lease; begin or end giving up a part."""
        with self._mutex:
            wanted = self._leases.renew(self._lease)
            if wanted is None:
                self.lost = True
            elif self._cut is not None:
                if not any(key >= str(self._high) for key in self._sent):
                    self._leases.shorten(self._lease, self._cut)
                    self._lease = Lease(self._lease.fingerprint, self._lease.holder, self._lease.low, self._cut)
                    self._cut = None
            elif wanted and self._left >= _WORTH_SHARING and self._lease.high - self._lease.low > 1:
                self._cut = (self._lease.low + self._lease.high) // 2
                self._high = _bound(self._cut)
                self._left //= 2

    def release(self) -> None:
        """Give up the lease: everything that was sent is committed, or lost."""
        self._leases.release(self._lease)
