"""Answer stores: the lake tables in which the answers of expensive functions are kept.

A store belongs to one family of answers (``labels.eai``, ``counts.n_tokens``). One row is one answer: to one text,
by one labeler, under one fingerprint. A text is named by its content address, which for a document is its ``doc_id``.
So an answer is never computed twice, and a changed prompt (another fingerprint) adds answers next to the old ones.
Ingest writes published labels into the same tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import pyarrow as pa

from udfs.errors import AnswersError
from warehouse.lake.quoting import quote

if TYPE_CHECKING:
    import duckdb

    from udfs.expensive import BoundFunction
    from warehouse.lake.commit import Commit, Staging
    from warehouse.lake.lake import Lake

#: The columns every store begins and ends with; the answer columns are between them.
HEAD = (
    pa.field("doc_id", pa.string(), nullable=False),
    pa.field("labeler", pa.string(), nullable=False),
    pa.field("fingerprint", pa.string(), nullable=False),
    pa.field("status", pa.string(), nullable=False),
)
TAIL = (
    pa.field("raw", pa.string()),
    pa.field("tokens", pa.int64()),
    pa.field("labelled_at", pa.timestamp("us", "UTC"), nullable=False),
)

#: Seconds between two commits, from the tenth on: one takes 10 ms of a core, whatever is in it.
_PAUSE = 0.5
#: Answers that wait while others are committed; beyond them the function waits too.
_WAITING = 16_384


def store_schema(columns: pa.Schema) -> pa.Schema:
    """Return the schema of a store's Parquet files, given the answer columns."""
    return pa.schema([*HEAD, *columns, *TAIL])


def ensure(commit: Commit, store: str, columns: pa.Schema) -> None:
    """Create the table of ``store`` (``schema.name``) if it is missing; add answer columns that are new.

    A store in schema ``labels`` also gets a long view ``<name>_long``: doc_id, labeler, category, rank
    (``primary`` or ``secondary``), code, fingerprint; one row per code given.

    Raises AnswersError if a column exists with another type.
    """
    schema, name = store.split(".")
    wanted = {field.name: duckdb_type(field.type) for field in store_schema(columns)}
    present = dict(
        commit.sql(
            "select column_name, data_type from duckdb_columns()"
            " where database_name = 'lake' and schema_name = ? and table_name = ? order by column_index",
            [schema, name],
        ).fetchall()
    )
    if not present:
        required = {field.name for field in (*HEAD, *TAIL) if not field.nullable}
        body = ", ".join(
            f"{quote(column)} {kind}{' not null' if column in required else ''}" for column, kind in wanted.items()
        )
        commit.sql(f"create schema if not exists lake.{quote(schema)}")
        commit.sql(f"create table lake.{quote(schema)}.{quote(name)} ({body})")
    new = [column for column in wanted if column not in present] if present else []
    for column in new:
        commit.sql(f"alter table lake.{quote(schema)}.{quote(name)} add column {quote(column)} {wanted[column]}")
    for column, kind in wanted.items():
        if column in present and present[column] != kind:
            raise AnswersError(f"{store}.{column} is {present[column]}, but its function answers {kind}")
    if schema == "labels" and (not present or new):
        types = {**present, **wanted}
        categories = [name for name, kind in types.items() if kind.startswith('STRUCT("primary" VARCHAR')]
        if categories:
            _long_view(commit, schema, name, categories)


def _long_view(commit: Commit, schema: str, name: str, categories: Sequence[str]) -> None:
    """One row per code, for questions over all categories at once. Unqualified by catalog: any client may attach it."""
    pairs = ", ".join(
        f"{{'category': '{category}', 'rank': '{rank}', 'code': {quote(category)}.{quote(rank)}}}"
        for category in categories
        for rank in ("primary", "secondary")
    )
    commit.sql(
        f"create or replace view lake.{quote(schema)}.{quote(name + '_long')} as"
        f" select doc_id, labeler, answer.category, answer.rank, answer.code, fingerprint"
        f" from {quote(schema)}.{quote(name)}, unnest([{pairs}]) as t(answer) where answer.code is not null"
    )


def exists(cursor: duckdb.DuckDBPyConnection, store: str) -> bool:
    """Return whether the lake has this store yet."""
    schema, name = store.split(".")
    row = cursor.execute(
        "select count(*) from duckdb_tables() where database_name = 'lake' and schema_name = ? and table_name = ?",
        [schema, name],
    ).fetchone()
    return bool(row and row[0])


@dataclass(frozen=True, slots=True)
class Retry:
    """Answers to ask for again: those with one of these statuses, from before a moment."""

    statuses: tuple[str, ...]
    before: datetime

    def usable(self) -> str:
        """Return the SQL condition that an answer counts."""
        listed = ", ".join(f"'{status}'" for status in self.statuses)
        return f"(answered.status not in ({listed}) or answered.labelled_at >= '{self.before.isoformat()}')"


def missing(cursor: duckdb.DuckDBPyConnection, inputs: str, function: BoundFunction, retry: Retry | None = None) -> str:
    """Return a query for the keys of ``inputs`` (a table with a unique ``key``) that the store does not answer."""
    if not exists(cursor, function.store):
        return f"select key from {inputs}"
    usable = f" and {retry.usable()}" if retry else ""
    return (
        f"select key from {inputs} anti join lake.{function.store} as answered"
        f" on answered.doc_id = {inputs}.key and answered.fingerprint = '{function.fingerprint}'{usable}"
    )


@dataclass(slots=True)
class Answers:
    """Takes the answers of one function as they come and commits them to its store in portions.

    A killed job has lost at most two portions, the one it was collecting and the one that was being committed; a
    portion is ``every`` answers, but after some commits at least half a second's and what comes while the one before
    it is committed, and at most ``seconds`` worth. A job that fails or is interrupted has lost nothing.

    ``settle`` is told the keys whose answers are committed; while ``hurried`` says so, nothing is waited for.
    """

    lake: Lake
    function: BoundFunction
    author: str = "cuvee build"
    every: int = 500
    seconds: float = 30.0
    settle: Callable[[list[str]], None] = lambda keys: None
    hurried: Callable[[], bool] = lambda: False
    _batches: list[pa.RecordBatch] = field(default_factory=list)
    _rows: int = 0
    _commits: int = 0
    _since: float = field(default_factory=monotonic)
    _committing: Future[None] = field(default_factory=lambda: _done())

    def collect(self, answers: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Store ``answers`` (see ``BoundFunction.answers``); yields them as they come."""
        # A commit takes 50 ms; in a thread of its own it keeps no function waiting.
        with ThreadPoolExecutor(1) as pool:
            try:
                for batch in answers:
                    for start in range(0, batch.num_rows, self.every):
                        portion = batch.slice(start, self.every)
                        self._batches.append(portion)
                        self._rows += portion.num_rows
                        if self._is_due():
                            self._flush(pool)
                        yield portion
            finally:
                if self._rows:
                    self._flush(pool)
                self._committing.result()

    def _is_due(self) -> bool:
        waited = monotonic() - self._since
        if self._rows >= max(self.every, _WAITING):
            return True
        enough = self._rows >= self.every and waited >= min(_PAUSE, _PAUSE * self._commits / 10)
        return (enough or waited >= self.seconds or self.hurried()) and self._committing.done()

    def _flush(self, pool: ThreadPoolExecutor) -> None:
        """Commit what was collected, once the portion before it is committed."""
        self._committing.result()
        self._commits += 1
        batches, self._rows, self._batches, self._since = self._batches, 0, [], monotonic()
        self._committing = pool.submit(self._commit, pa.Table.from_batches(batches), datetime.now(UTC))

    def _commit(self, answers: pa.Table, now: datetime) -> None:
        with self.lake.staging() as staging:
            files = [write_answers(staging, self.function.store, self._store_rows(answers, now))]
            with self.lake.commit(f"answers: {self.function.labeler}", author=self.author) as commit:
                ensure(commit, self.function.store, self.function.columns)
                commit.add(self.function.store, files)
        self.settle(answers["key"].to_pylist())

    def _store_rows(self, answers: pa.Table, now: datetime) -> pa.Table:
        n = answers.num_rows
        constants = {
            "doc_id": answers["key"],
            "labeler": pa.repeat(self.function.labeler, n),
            "fingerprint": pa.repeat(self.function.fingerprint, n),
            "labelled_at": pa.repeat(pa.scalar(now, pa.timestamp("us", "UTC")), n),
        }
        schema = store_schema(self.function.columns)
        try:
            return pa.table(
                [constants[name] if name in constants else answers[name] for name in schema.names], schema=schema
            )
        except (KeyError, pa.ArrowInvalid, ValueError, TypeError) as error:
            raise AnswersError(
                f"{self.function.labeler} gave answers that are not what it declares: {error}"
            ) from error


def _done() -> Future[None]:
    future: Future[None] = Future()
    future.set_result(None)
    return future


def write_answers(staging: Staging, store: str, rows: pa.Table) -> Path:
    """Write store rows (schema ``store_schema``) to a staged Parquet file."""
    import pyarrow.parquet as pq

    path = staging.file(store)
    pq.write_table(rows, path, compression="zstd")
    return path


@cache
def duckdb_type(kind: pa.DataType) -> str:
    """Return DuckDB's name of an Arrow type.

    >>> duckdb_type(pa.struct([("primary", pa.string())]))
    'STRUCT("primary" VARCHAR)'
    """
    return str(_memory().cursor().from_arrow(pa.schema([("x", kind)]).empty_table()).types[0])


@cache
def _memory() -> duckdb.DuckDBPyConnection:
    """Return a connection that names types: 1 ms each, where opening one takes 8."""
    import duckdb

    return duckdb.connect()
