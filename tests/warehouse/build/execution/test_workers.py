"""Threads that read the lake: side by side, each in a snapshot of its own, and stopped when asked."""

from __future__ import annotations

import threading

import pytest

from udfs.errors import CuveeError
from warehouse.build.execution.workers import Reader, Workers
from warehouse.lake.lake import Lake


def rows(reader: Reader) -> int:
    with reader.snapshot() as cursor:
        row = cursor.execute("select count(*) from raw.documents").fetchone()
        assert row is not None
        return int(row[0])


def add(lake: Lake, key: str) -> None:
    with lake.commit("one more") as commit:
        commit.sql("insert into raw.documents values (?, 'text', 4, 'f')", [key])


def test_two_work_at_once(lake: Lake) -> None:
    workers = Workers(lake, 2)
    together = threading.Barrier(2, timeout=30)
    both = [workers.submit(lambda reader: (together.wait(), rows(reader))[1]) for _ in range(2)]
    assert [each.result() for each in both] == [0, 0]
    workers.close()


def test_what_is_committed_is_seen_after_release(lake: Lake) -> None:
    workers = Workers(lake, 1)
    assert workers.submit(rows).result() == 0
    add(lake, "a")
    assert workers.submit(rows).result() == 0, "the same transaction"
    workers.release()
    assert workers.submit(rows).result() == 1
    add(lake, "b")
    assert workers.here(rows).result() == 2, "what runs in the caller's thread sees what the caller committed"
    workers.close()


def test_an_error_ends_the_transaction_and_is_given_back(lake: Lake) -> None:
    workers = Workers(lake, 1)

    def fail(reader: Reader) -> None:
        with reader.snapshot() as cursor:
            cursor.execute("select error('no')").fetchall()

    with pytest.raises(Exception, match="no"):
        workers.submit(fail).result()
    assert workers.submit(rows).result() == 0

    def refuse(reader: Reader) -> None:
        raise CuveeError("not this one")

    assert str(workers.here(refuse).exception()) == "not this one"
    workers.close()


def test_closing_stops_a_query_that_would_run_for_hours(lake: Lake) -> None:
    workers = Workers(lake, 1)
    started = threading.Event()

    def work(reader: Reader) -> None:
        with reader.snapshot() as cursor:
            started.set()
            cursor.execute("select sum(a.i * b.i * c.i) from range(100000) a(i), range(100000) b(i), range(1000) c(i)")

    running = workers.submit(work)
    waiting = workers.submit(rows)
    assert started.wait(30)
    workers.close()
    with pytest.raises(Exception, match=r"(?i)interrupt|cancel"):
        running.result()
    assert waiting.cancelled() or waiting.done()
