"""Asking expensive functions: inputs without an answer are streamed through them, and the answers committed.

One ``Paying`` serves a whole build: it knows what the build may spend, takes leases so that other builds of the lake
pay for other inputs, keeps a function's engine from one model to the next, and ends the stream at Ctrl-C so that what
is in flight is finished.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from udfs.errors import CuveeError
from udfs.expensive import INPUT_SCHEMA, BoundFunction, Inputs
from udfs.labels.labelers.price import Priced, Usage
from warehouse.answers import store
from warehouse.answers.budget import Budget, LimitReachedError
from warehouse.answers.call_stats import Tally
from warehouse.answers.interruption import Interruption
from warehouse.answers.leases import LOOK, Leases, Share, prefix_of
from warehouse.answers.stages import Stage
from warehouse.lake.lake import texts

if TYPE_CHECKING:
    import duckdb

    from warehouse.graph.loaded_project import Opened
    from warehouse.project.outcome import Watcher

#: Texts per batch that a function receives: fewer where there are few, so that they can be shared.
_BATCH, _SMALL_BATCH, _FEW = 1024, 512, 16_384


class AnswersError(CuveeError):
    """A function could not answer, or its answers are not to be used."""


class Paying:
    """What all the asking of one build has in common. A function answers within the context that ``away`` makes."""

    def __init__(
        self, opened: Opened, watcher: Watcher, away: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self.started = datetime.now(UTC)
        self._opened, self._watcher, self._away = opened, watcher, away
        self._budget = Budget(opened.options.limit, opened.options.max_cost)
        self._function: BoundFunction | None = None
        self._waited: set[str] = set()

    def close(self) -> None:
        """Give up leases, and end engines."""
        self._use(None)
        if "_leases" in self.__dict__:
            self._leases.close()

    @cached_property
    def _leases(self) -> Leases:
        return Leases(self._opened.lake.root, self._opened.options.lease_seconds)

    def tally(self, stage: Stage, inputs: int, missing: int) -> Tally:
        """The figures of a stage that is about to be asked about. Raises UsageError if its cost cannot be limited."""
        function = stage.call.function
        self._budget.check(function)
        return Tally(
            stage.call.title, missing, inputs - missing, function.price if isinstance(function, Priced) else None
        )

    def ask(
        self, stage: Stage, unanswered: str, seen: int, cursor: duckdb.DuckDBPyConnection, tally: Tally,
        show: Callable[[Tally], None],
    ) -> None:  # fmt: skip
        """Answer some of a stage's missing inputs: those that no other build of the lake is answering.

        ``unanswered`` is the query by which they were found, in the lake's snapshot ``seen``. If others answer all of
        them, this waits until one of them is done. Raises LimitReachedError if nothing may be asked any more, and
        KeyboardInterrupt after Ctrl-C, when everything that was in flight is committed.
        """
        function = self._use(stage.call.function)
        fingerprint = function.fingerprint
        if self._budget.grant(fingerprint) == 0:
            raise LimitReachedError(
                f"{tally.title}: {tally.reused + tally.done + tally.elsewhere:,} of {tally.reused + tally.missing:,}"
                f" answered, {self._budget.reached()} is reached",
                where=stage.call.where,
                hint="what was answered is kept; run again to go on",
            )
        with self._away(), Interruption() as interruption:
            counts: dict[int, int] = {}
            for start, count in cursor.execute(
                f"select left(key, 4), count(*) from {stage.missing} group by 1"
            ).fetchall():
                prefix = prefix_of(start)
                counts[prefix] = counts.get(prefix, 0) + count
            lease = self._leases.take(fingerprint, counts)
            if lease is None:
                self._wait(fingerprint, counts, tally, interruption)
            else:
                missing = sum(n for prefix, n in counts.items() if lease.low <= prefix < lease.high)
                share = Share(self._leases, lease, missing)
                try:
                    if self._opened.lake.snapshot() != seen:
                        table = f"select key from ({unanswered}) where {lease.holds('key')}"
                        cursor.execute(f"create or replace temp table {stage.missing} as {table}")
                    cursor.execute(f"drop table {stage.inputs}")  # all keys once more; the next look makes it again
                    self._stream(stage, function, missing, share, cursor, tally, show, interruption)
                finally:
                    share.release()
            if interruption.asked.is_set():
                raise KeyboardInterrupt

    def _stream(
        self, stage: Stage, function: BoundFunction, missing: int, share: Share, cursor: duckdb.DuckDBPyConnection,
        tally: Tally, show: Callable[[Tally], None], interruption: Interruption,
    ) -> None:  # fmt: skip
        """Stream texts through a function into the store."""
        sent = answered = 0
        before = tally.money

        def batches() -> Iterator[pa.RecordBatch]:
            nonlocal sent
            size = _BATCH if missing >= _FEW else _SMALL_BATCH
            for batch in reader:
                for start in range(0, batch.num_rows, size):
                    grant = self._budget.grant(function.fingerprint)
                    if grant == 0 or share.lost or interruption.asked.is_set():
                        return
                    admitted = share.admit(_inputs(batch.slice(start, size)), grant)
                    if admitted.num_rows:
                        sent += admitted.num_rows
                        self._budget.send(function.fingerprint, admitted.num_rows)
                        yield admitted

        # A function that is cheap says how many answers are worth a commit.
        every = max(self._opened.options.commit_every, getattr(function, "portion", 0))
        answers = store.Answers(
            self._opened.lake, function, every=every, settle=share.settle, hurried=lambda: share.hurried
        )
        ended = threading.Event()
        watching = threading.Thread(target=self._watch, args=(share, interruption, ended, tally), daemon=True)
        reader = texts(cursor, stage.texts.format(missing=stage.missing), _BATCH)
        usage = function.usage if isinstance(function, Priced) else None
        used = (usage.input, usage.output) if usage else (0, 0)
        tally.start()
        watching.start()
        stream = function.answers(Inputs(batches(), lambda: share.lost or interruption.asked.is_set()))
        try:
            for batch in answers.collect(stream):
                answered += batch.num_rows
                tokens = pc.sum(batch["tokens"]).as_py() or 0
                counted = {each["values"]: each["counts"] for each in pc.value_counts(batch["status"]).to_pylist()}
                tally.count(counted, tokens)
                if tally.price is not None:
                    since = Usage(usage.input - used[0], usage.output - used[1]) if usage else Usage(tally.tokens)
                    money = tally.price.of(since)
                    paid, tally.money = before + money - tally.money, before + money
                else:
                    paid = 0.0
                self._budget.pay(function.fingerprint, batch.num_rows, tokens, paid)
                show(tally)
        finally:
            close: Callable[[], None] | None = getattr(stream, "close", None)
            if close:
                close()
            reader.close()
            ended.set()
            watching.join()
            tally.stop()
            self._budget.unanswered(function.fingerprint)
        if answered < sent and not share.lost and not interruption.asked.is_set():
            raise AnswersError(
                f"{stage.call.title} answered {answered:,} of {sent:,} inputs", where=stage.call.where,
                hint="a function answers every input, with status error if it must",
            )  # fmt: skip

    def _watch(self, share: Share, interruption: Interruption, ended: threading.Event, tally: Tally) -> None:
        """Keep a lease, share it when somebody asks, and say what Ctrl-C does."""
        told = False
        while not ended.wait(LOOK):
            try:
                share.watch()
            except sqlite3.Error as error:
                share.lost = True
                self._watcher.say(f"{tally.title}: its lease is lost ({error}); finishing what is in flight")
                return
            if interruption.asked.is_set() and not told:
                told = True
                self._watcher.say("stopping: what is in flight is finished and committed; Ctrl-C again stops at once")

    def _wait(self, fingerprint: str, counts: dict[int, int], tally: Tally, interruption: Interruption) -> None:
        """Wait until some of the inputs that others answer are free, answered or not."""
        if fingerprint not in self._waited:
            self._waited.add(fingerprint)
            self._watcher.say(
                f"{tally.title}: the {sum(counts.values()):,} left are being answered by another build;"
                " waiting for a share or its commits"
            )
        while not self._leases.is_free(fingerprint, counts):
            self._leases.ask_for_share(fingerprint, counts)
            if interruption.asked.wait(LOOK):
                return

    def _use(self, function: BoundFunction | None) -> BoundFunction:
        """The function as it was used before, with its engine, if it is the same one. Only one has an engine."""
        last = self._function
        if last is not None and (function is None or _identity(last) != _identity(function)):
            close: Callable[[], None] | None = getattr(last, "close", None)
            if close:
                close()
            last = None
        self._function = last or function
        return self._function  # type: ignore[return-value]


def _identity(function: BoundFunction) -> tuple[str, str, str]:
    return function.store, function.labeler, function.fingerprint


def _inputs(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [batch.column(name).cast(pa.string()) for name in ("key", "text")], schema=INPUT_SCHEMA
    )
