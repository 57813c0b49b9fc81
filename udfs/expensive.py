"""The contract between the builder and a function that is too expensive to run inside a query.

An expensive function (labelling, token counts, embeddings) is never called by DuckDB. The builder finds the call
in a model's SQL, looks up which texts have no answer yet, streams those through ``answers`` and joins what was
stored. A function therefore says three things: what identifies its answer (``fingerprint``), which columns an
answer has (``columns``), and how to compute answers for a stream of texts.

DuckDB's own Python UDFs cannot do this: they see at most 2,048 rows at a time, are evaluated as often as the
optimizer likes (twice for a WHERE over a subquery's column, duckdb #10120), and repeat equal inputs (#13738).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

#: What ``answers`` receives: a batch of texts with the key under which each answer is stored.
INPUT_SCHEMA = pa.schema([pa.field("key", pa.string(), nullable=False), pa.field("text", pa.string(), nullable=False)])

#: Answer status. ``ok`` and ``partial`` carry values; ``unparsed`` and ``error`` carry the reason in ``raw``.
STATUSES = ("ok", "partial", "unparsed", "error")


class Inputs:
    """A stream of batches that may be stopped: it ends early, and batches that no thread has begun with are dropped."""

    def __init__(self, batches: Iterator[pa.RecordBatch], stopped: Callable[[], bool]) -> None:
        self._batches = batches
        self.stopped = stopped

    def __iter__(self) -> Inputs:
        return self

    def __next__(self) -> pa.RecordBatch:
        if self.stopped():
            raise StopIteration
        return next(self._batches)


def stopped(inputs: Iterator[pa.RecordBatch]) -> bool:
    """Return whether nothing more of the inputs is to be begun."""
    return isinstance(inputs, Inputs) and inputs.stopped()


@dataclass(slots=True)
class Usage:
    """Tokens paid for so far: read and written."""

    input: int = 0
    output: int = 0


@dataclass(frozen=True, slots=True)
class Price:
    """Money per million tokens, as a labeler's file states it: no part of any fingerprint."""

    input: float
    output: float
    currency: str = "USD"

    def of(self, usage: Usage) -> float:
        """Return the cost of some tokens.

        >>> Price(0.5, 1.5).of(Usage(2_000_000, 1_000_000))
        2.5
        """
        return (usage.input * self.input + usage.output * self.output) / 1e6


class BoundFunction:
    """An expensive function whose constant arguments are fixed: one labeler, one tokenizer.

    The base class says what every such function has, and what is optional. Most are frozen dataclasses.
    """

    #: Name of the family of answers, ``schema.table`` of the store: ``labels.eai``, ``counts.n_tokens``.
    store: str

    #: Who answers, as people call it: a labeler's or a tokenizer's name. Stored with each answer.
    labeler: str

    #: 32 hex digits over everything that can change an answer: model and revision, prompt, sampling, codec.
    fingerprint: str

    #: Answer columns. Each batch of ``answers`` has ``key``, ``status``, these columns, ``raw``, ``tokens``.
    columns: pa.Schema

    #: The one answer column that is the call's value in SQL, or None: the value is a struct of all columns.
    result: str | None

    #: How many answers are worth a commit, for a function that is cheap. 0: the builder decides.
    portion: int = 0

    #: The price of its tokens, if a price is known.
    price: Price | None = None

    @property
    def usage(self) -> Usage | None:
        """The tokens used since it was bound. None if it does not count those read and those written."""
        return None

    def answers(self, inputs: Iterator[pa.RecordBatch]) -> Generator[pa.RecordBatch, None, None]:
        """Answer every text of ``inputs`` (schema ``INPUT_SCHEMA``), in any order, each key exactly once.

        Yields batches with columns ``key`` string, ``status`` string (see ``STATUSES``), the answer columns,
        ``raw`` string (the raw output or the error, NULL if there is nothing to keep) and ``tokens`` int64
        (tokens paid for, NULL if the function does not count them). One bad text never raises: it is answered with
        status ``error``. May run ahead of the consumer, bounded; closing the generator stops it. If ``inputs`` is
        an ``Inputs`` that is stopped, what is in flight is answered, and nothing else need be.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End the engine. Does nothing unless a function has one."""


class ExpensiveFunction(Protocol):
    """A function that SQL may call as ``name(text, option, …)``; options are constants."""

    @property
    def name(self) -> str:
        """The name in SQL."""

    def bind(self, options: tuple[str | int | float | bool, ...]) -> BoundFunction:
        """Fix the constant arguments. Loads no model. Raises UsageError for unknown names or wrong arguments."""


def answer_schema(function: BoundFunction) -> pa.Schema:
    """Return the full schema of the batches that ``function.answers`` yields."""
    return pa.schema(
        [
            pa.field("key", pa.string(), nullable=False),
            pa.field("status", pa.string(), nullable=False),
            *function.columns,
            pa.field("raw", pa.string()),
            pa.field("tokens", pa.int64()),
        ]
    )


def answered(function: BoundFunction, keys: pa.Array, columns: Iterable[pa.Array]) -> pa.RecordBatch:
    """Make the batch of answers that all have status ``ok``, without raw output and tokens."""
    n = len(keys)
    ok, none = pa.repeat(pa.scalar("ok"), n), pa.nulls(n, pa.string())
    return pa.record_batch([keys, ok, *columns, none, pa.nulls(n, pa.int64())], schema=answer_schema(function))


def fingerprint(*parts: object) -> str:
    """Return 32 hex digits that identify JSON-like values: the same for equal values, in every process and version.

    >>> fingerprint("zero_shot", {"max_tokens": 128})
    'fd1cf04ea6f643a1b77461ce6da282b5'
    """
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]
