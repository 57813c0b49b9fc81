"""Write the missing units: read texts by row group, prepare them, gather them by unit, pack and write each unit.

Text is read once and in file order. What a unit needs waits in memory, and beyond ``MEMORY`` bytes in spill files,
until everything is read; then units are written, two at a time. No text is sorted but inside a unit.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from udfs.errors import CuveeError
from warehouse.export.packing import TokenSequences
from warehouse.export.plan import ExportPlan, place_documents
from warehouse.export.store import ShardStore, ShardTask, ShardUnit
from warehouse.lake.quoting import quote

#: Bytes of prepared documents that wait in memory.
MEMORY = 384 << 20
#: Bytes of text that are read at a time.
CHUNK = 32 << 20
#: Reading and encoding run in Arrow's C++ without the GIL. More threads would also hold more in flight.
THREADS = 2


@dataclass(frozen=True, slots=True)
class NeededRows:
    """Rows of one file that some unit needs, ascending; a row appears once per unit.

    ``columns`` go with a document to its unit: rank, n_tokens and labels.
    """

    rows: NDArray[Any]
    parts: NDArray[Any]
    columns: pa.Table

    def between(self, first: int, last: int) -> NeededRows:
        """Return those with first <= row < last."""
        begin, end = np.searchsorted(self.rows, [first, last])
        return NeededRows(self.rows[begin:end], self.parts[begin:end], self.columns.slice(begin, end - begin))


@contextlib.contextmanager
def _memory_pool() -> Iterator[None]:
    """Let Arrow keep pages that it freed a moment ago: 0.9 s less of 1.9 s in the kernel per 200 MB of text."""
    before = pa.default_memory_pool()
    if "jemalloc" in pa.supported_memory_backends():
        pa.set_memory_pool(pa.jemalloc_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


@_memory_pool()
def write_units(
    cursor: duckdb.DuckDBPyConnection,
    plan: ExportPlan,
    store: ShardStore,
    scratch: Path,
    advance: Callable[[int], None],
) -> dict[str, ShardUnit]:
    """Write every missing unit of a plan into the store; ``scratch`` is a folder on the store's file system.

    ``advance`` is told of documents read. Gives the units by key.
    """
    packing = plan.packing
    spill = Spill(scratch / "spill")
    labels = packing.label_names
    files = place_documents(cursor, plan)
    with ThreadPoolExecutor(THREADS) as pool:

        def prepared(chunk: TextChunk) -> list[tuple[int, pa.RecordBatch]]:
            return list(_by_part(chunk, packing.prepare(chunk.texts)))

        def read(task: Callable[[], TextChunk]) -> Any:
            # The tokenizer uses all cores by itself: chunks are tokenized below while the next are being read.
            return task() if isinstance(packing, TokenSequences) else prepared(task())

        for found in _prefetch(pool, (partial(read, task) for task in _chunks(cursor, files, labels))):
            pieces = prepared(found) if isinstance(found, TextChunk) else found
            for part, batch in pieces:
                spill.add(part, batch)
            advance(sum(batch.num_rows for _, batch in pieces))

        def write(task: ShardTask) -> tuple[str, ShardUnit]:
            documents = spill.take(task.number)
            if documents.num_rows != task.documents:
                raise CuveeError(
                    f"{documents.num_rows} documents where the plan has {task.documents}: did the lake's files change?"
                )
            draft = scratch / f"unit-{task.number}"
            return task.key, store.write(task, draft, packing, plan.options, documents)

        return {**plan.done, **dict(_prefetch(pool, (partial(write, task) for task in plan.missing.values())))}


@dataclass(frozen=True, slots=True)
class TextChunk:
    """Texts that were read, each once, and who needs them: ``which`` points from each need to its text."""

    ids: pa.Array
    texts: pa.Array
    which: NDArray[Any]
    needed: NeededRows


def _chunks(
    cursor: duckdb.DuckDBPyConnection, files: list[str], labels: list[str]
) -> Iterator[Callable[[], TextChunk]]:
    """Yield tasks that each read about ``CHUNK`` bytes of text, in file order."""
    names = ", ".join(["row", "part", "rank", "n_tokens", *map(quote, labels)])
    for number, path in enumerate(files):
        found = cursor.execute(
            f"select {names} from temp.needed where file = ? order by row, part", [number]
        ).to_arrow_table()
        needed = NeededRows(
            found["row"].to_numpy(), found["part"].to_numpy(), found.drop_columns(["row", "part"]).combine_chunks()
        )
        if not len(needed.rows):
            continue
        try:
            footer = pq.read_metadata(path)
        except OSError as error:
            raise CuveeError(f"cannot read {path}: {error}", hint="cuvee lake check tells what is damaged") from error
        first = 0
        for group in range(footer.num_row_groups):
            rows, size = footer.row_group(group).num_rows, footer.row_group(group).total_byte_size
            inside = needed.between(first, first + rows)
            if len(inside.rows):
                yield from _group_chunks(path, group, first, rows, size, inside)
            first += rows


def _group_chunks(
    path: str, group: int, first: int, rows: int, size: int, needed: NeededRows
) -> Iterator[Callable[[], TextChunk]]:
    """Yield a row group as one task, or as several that read it in turn if it is large."""
    if size <= CHUNK:
        yield lambda: _chunk(pq.ParquetFile(path).read_row_group(group, columns=["doc_id", "text"]), first, needed)
        return
    batch_size = max(1, rows * CHUNK // size)
    file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    begin = first
    for batch in file.iter_batches(batch_size, row_groups=[group], columns=["doc_id", "text"]):
        inside = needed.between(begin, begin + batch.num_rows)
        if len(inside.rows):
            yield partial(_chunk, pa.Table.from_batches([batch]), begin, inside)
        begin += batch.num_rows


def _chunk(table: pa.Table, first: int, needed: NeededRows) -> TextChunk:
    rows, which = np.unique(needed.rows - first, return_inverse=True)
    if len(rows) < table.num_rows:
        table = table.take(pa.array(rows))
    ids = table["doc_id"].cast(pa.large_string()).combine_chunks()
    texts = table["text"].cast(pa.large_string()).combine_chunks()
    return TextChunk(_one(ids), _one(texts), which, needed)


def _by_part(chunk: TextChunk, payload: pa.Array) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Cut prepared documents into one batch per unit."""
    needed = chunk.needed
    if len(needed.rows) == len(chunk.ids) and (needed.parts == needed.parts[0]).all():
        order = np.arange(len(needed.rows))
    else:
        order = np.argsort(needed.parts, kind="stable")
        taken = pa.array(chunk.which[order])
        payload, chunk = payload.take(taken), TextChunk(chunk.ids.take(taken), chunk.texts, chunk.which, needed)
    taken = needed.columns.take(pa.array(order))
    columns = {name: _one(taken[name].combine_chunks()) for name in taken.column_names}
    batch = pa.record_batch({**columns, "doc_id": chunk.ids, "payload": payload})
    parts = needed.parts[order]
    bounds = [0, *(np.flatnonzero(np.diff(parts)) + 1).tolist(), len(parts)]
    for begin, end in itertools.pairwise(bounds):
        yield int(parts[begin]), batch.slice(begin, end - begin)


class Spill:
    """Batches by unit, in memory up to ``MEMORY`` bytes and beyond that appended to a file per unit."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._waiting: dict[int, list[pa.RecordBatch]] = {}
        self._bytes = 0

    def add(self, part: int, batch: pa.RecordBatch) -> None:
        """Keep a batch for a unit."""
        self._waiting.setdefault(part, []).append(batch)
        self._bytes += batch.nbytes
        if self._bytes > MEMORY:
            for key, batches in self._waiting.items():
                self._append(key, batches)
            self._waiting, self._bytes = {}, 0

    def take(self, part: int) -> pa.RecordBatch:
        """Return all documents of a unit in its order, and drop them here."""
        batches = [*self._stored(part), *self._waiting.pop(part, [])]
        table = pa.Table.from_batches(batches).sort_by("rank").drop_columns(["rank"])
        return pa.RecordBatch.from_arrays(
            [_one(column.combine_chunks()) for column in table.columns], table.schema.names
        )

    def _append(self, part: int, batches: list[pa.RecordBatch]) -> None:
        """Append a complete IPC stream: a file may hold several, one after the other."""
        with (self._folder / f"{part}.arrows").open("ab") as file, pa.ipc.new_stream(file, batches[0].schema) as stream:
            for batch in batches:
                stream.write_batch(batch)

    def _stored(self, part: int) -> list[pa.RecordBatch]:
        path = self._folder / f"{part}.arrows"
        if not path.exists():
            return []
        batches: list[pa.RecordBatch] = []
        with pa.memory_map(str(path)) as file:
            while file.tell() < file.size():
                batches.extend(pa.ipc.open_stream(file))
        path.unlink()  # the mapping keeps the bytes until the batches are gone
        return batches


def _one(column: Any) -> pa.Array:
    """Return a chunked column as one array."""
    if isinstance(column, pa.ChunkedArray):
        return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    return column


def _prefetch(pool: ThreadPoolExecutor, tasks: Iterator[Callable[[], Any]]) -> Iterator[Any]:
    """Yield the results of tasks in order, with a few running ahead."""
    running: deque[Future[Any]] = deque()
    try:
        for task in tasks:
            running.append(pool.submit(task))
            if len(running) > THREADS:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        for future in running:
            future.cancel()
