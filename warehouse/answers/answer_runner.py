"""Run expensive functions: stream inputs without an answer through them, and commit the answers.

One ``AnswerRunner`` serves a whole build. It knows the build's limits, takes leases so that other builds of the lake
pay for other inputs, keeps a function's engine from one model to the next, and ends the stream at Ctrl-C so that what
is in flight is finished.

- Answers are committed every 500, at most twice a second in the long run, or every 30 seconds.
- Until an answer has come, 32 inputs are sent; then as many as may be paid at 1.1 times the average cost.
- Where a limit leaves inputs without an answer, what was answered is kept and the model is ``limited`` (dbt's
  ``skipped``, so ``cuvee retry`` goes on). What is built from it is skipped, and the command exits with 1.
- ``--retry`` treats answers with these statuses, from before the build, as missing.
- A first Ctrl-C finishes what is in flight and commits it; a second one stops at once.
- Memory: one chunk of texts, one copy of the keys. A build of 300,000 labels takes 449 MB.
"""

from __future__ import annotations

import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from types import FrameType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from udfs.errors import AnswersError
from udfs.expensive import INPUT_SCHEMA, BoundFunction, Inputs, Usage
from warehouse.answers import store
from warehouse.answers.budget import Budget, LimitReachedError
from warehouse.answers.call_stats import AnswerCallback, CallStats
from warehouse.answers.calls import AnswerContext
from warehouse.answers.leases import LOOK, Leases, Share, prefix_of
from warehouse.answers.stages import Stage
from warehouse.lake.connection import stream_texts

if TYPE_CHECKING:
    import duckdb


#: Texts per batch that a function receives: fewer where there are few, so that they can be shared.
_BATCH, _SMALL_BATCH, _FEW = 1024, 512, 16_384


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The inputs of a stage that have no answer, by the query that found them in a snapshot of the lake."""

    stage: Stage
    query: str
    snapshot: int


@dataclass(frozen=True, slots=True)
class StageProgress:
    """The figures of a stage, and the callback that receives them at each batch of answers."""

    stats: CallStats
    show: Callable[[CallStats], None]


@dataclass(frozen=True, slots=True)
class _Lent:
    """The share of a stage's missing inputs that this build holds a lease on."""

    stage: Stage
    function: BoundFunction
    share: Share
    missing: int


class Interruption:
    """Within this context the first SIGINT, SIGTERM or SIGHUP only sets ``asked``; a second one does what it did.

    Signals reach Python's main thread only: in another one the context changes nothing.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.asked.is_set():
            self.asked.set()
        elif callable(before := self._before.get(number)):
            before(number, frame)
        else:
            raise KeyboardInterrupt


class AnswerRunner:
    """Runs the expensive functions of one build. A function answers within the context that ``away`` makes."""

    def __init__(
        self,
        context: AnswerContext,
        callback: AnswerCallback,
        away: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.started = datetime.now(UTC)
        self.context, self.callback, self._away = context, callback, away
        self._budget = Budget(context.limits.limit, context.limits.max_cost)
        self._function: BoundFunction | None = None
        self._waited: set[str] = set()

    def close(self) -> None:
        """Give up leases, and end engines."""
        self._use(None)
        if "_leases" in self.__dict__:
            self._leases.close()

    @cached_property
    def _leases(self) -> Leases:
        return Leases(self.context.lake.root, self.context.limits.lease_seconds)

    def stats(self, stage: Stage, inputs: int, missing: int) -> CallStats:
        """Return the figures of a stage before it is answered. Raises UsageError if its cost cannot be limited."""
        function = stage.call.function
        self._budget.check(function)
        return CallStats(stage.call.title, missing, inputs - missing, function.price)

    def ask(self, unanswered: Unanswered, cursor: duckdb.DuckDBPyConnection, progress: StageProgress) -> None:
        """Answer some of a stage's missing inputs: those that no other build of the lake is answering.

        If others answer all of them, this waits until one of them is done. Raises LimitReachedError at a limit, and
        KeyboardInterrupt after Ctrl-C, when everything that was in flight is committed.
        """
        stage, stats = unanswered.stage, progress.stats
        function = self._use(stage.call.function)
        fingerprint = function.fingerprint
        if self._budget.grant(fingerprint) == 0:
            raise LimitReachedError(
                f"{stats.title}: {stats.reused + stats.done + stats.elsewhere:,} of {stats.reused + stats.missing:,}"
                f" answered, {self._budget.reached()} is reached",
                where=stage.call.where,
                hint="what was answered is kept; run again to go on",
            )
        with self._away(), Interruption() as interruption:
            counts: Counter[int] = Counter()
            cursor.execute(f"select left(key, 4), count(*) from {stage.missing} group by 1")
            for start, count in cursor.fetchall():
                counts[prefix_of(start)] += count
            lease = self._leases.take(fingerprint, counts)
            if lease is None:
                self._wait(fingerprint, counts, stats, interruption)
            else:
                missing = sum(n for prefix, n in counts.items() if lease.low <= prefix < lease.high)
                share = Share(self._leases, lease, missing)
                try:
                    if self.context.lake.snapshot() != unanswered.snapshot:
                        table = f"select key from ({unanswered.query}) where {lease.holds('key')}"
                        cursor.execute(f"create or replace temp table {stage.missing} as {table}")
                    cursor.execute(f"drop table {stage.inputs}")  # all keys once more; the next look makes it again
                    self._stream(_Lent(stage, function, share, missing), cursor, progress, interruption)
                finally:
                    share.release()
            if interruption.asked.is_set():
                raise KeyboardInterrupt

    def _stream(
        self, lent: _Lent, cursor: duckdb.DuckDBPyConnection, progress: StageProgress, interruption: Interruption
    ) -> None:
        stage, function, share, stats = lent.stage, lent.function, lent.share, progress.stats
        sent = answered = 0
        before = stats.money

        def batches() -> Iterator[pa.RecordBatch]:
            nonlocal sent
            size = _BATCH if lent.missing >= _FEW else _SMALL_BATCH
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

        every = max(self.context.limits.commit_every, function.portion)
        answers = store.Answers(
            self.context.lake, function, every=every, settle=share.settle, hurried=lambda: share.hurried
        )
        ended = threading.Event()
        watching = threading.Thread(target=self._watch, args=(share, interruption, ended, stats), daemon=True)
        reader = stream_texts(cursor, stage.texts_of(lent.missing), _BATCH)
        usage = function.usage
        used = (usage.input, usage.output) if usage else (0, 0)
        stats.start()
        watching.start()
        stream = function.answers(Inputs(batches(), lambda: share.lost or interruption.asked.is_set()))
        try:
            for batch in answers.collect(stream):
                answered += batch.num_rows
                tokens = pc.sum(batch["tokens"]).as_py() or 0
                counted = {each["values"]: each["counts"] for each in pc.value_counts(batch["status"]).to_pylist()}
                stats.count(counted, tokens)
                if stats.price is not None:
                    since = Usage(usage.input - used[0], usage.output - used[1]) if usage else Usage(stats.tokens)
                    money = stats.price.of(since)
                    paid, stats.money = before + money - stats.money, before + money
                else:
                    paid = 0.0
                self._budget.pay(function.fingerprint, batch.num_rows, tokens, paid)
                progress.show(stats)
        finally:
            stream.close()
            reader.close()
            ended.set()
            watching.join()
            stats.stop()
            self._budget.unanswered(function.fingerprint)
        if answered < sent and not share.lost and not interruption.asked.is_set():
            raise AnswersError(
                f"{stage.call.title} answered {answered:,} of {sent:,} inputs", where=stage.call.where,
                hint="a function answers every input, with status error if it must",
            )  # fmt: skip

    def _watch(self, share: Share, interruption: Interruption, ended: threading.Event, stats: CallStats) -> None:
        """Renew a lease, share it when another build asks, and say what Ctrl-C does."""
        told = False
        while not ended.wait(LOOK):
            try:
                share.watch()
            except sqlite3.Error as error:
                share.lost = True
                self.callback.say(f"{stats.title}: its lease is lost ({error}); finishing what is in flight")
                return
            if interruption.asked.is_set() and not told:
                told = True
                self.callback.say("stopping: what is in flight is finished and committed; Ctrl-C again stops at once")

    def _wait(self, fingerprint: str, counts: dict[int, int], stats: CallStats, interruption: Interruption) -> None:
        """Wait until some of the inputs that others answer are free, answered or not."""
        if fingerprint not in self._waited:
            self._waited.add(fingerprint)
            self.callback.say(
                f"{stats.title}: the {sum(counts.values()):,} left are being answered by another build;"
                " waiting for a share or its commits"
            )
        while not self._leases.is_free(fingerprint, counts):
            self._leases.ask_for_share(fingerprint, counts)
            if interruption.asked.wait(LOOK):
                return

    def _use(self, function: BoundFunction | None) -> BoundFunction:
        """Return the function in use, with its engine, if it is the same one. Only one function has an engine."""
        last = self._function
        if last is not None and (function is None or _identity(last) != _identity(function)):
            last.close()
            last = None
        self._function = last or function
        return self._function  # type: ignore[return-value]


def _identity(function: BoundFunction) -> tuple[str, str, str]:
    return function.store, function.labeler, function.fingerprint


def _inputs(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [batch.column(name).cast(pa.string()) for name in ("key", "text")], schema=INPUT_SCHEMA
    )
