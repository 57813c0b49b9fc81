"""A unit of commit: the rows of one or more whole files, staged as Parquet until they are committed together.

Memory is bounded by a row group of each table, whatever the unit holds. Texts that the unit has seen are dropped at
once, as long as it has seen less than a million; ``commit`` finds the others, and those that the lake has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import pyarrow as pa
import pyarrow.parquet as pq

from udfs.errors import CuveeError
from warehouse.answers.store import store_schema
from warehouse.ingest.formats import essential_web
from warehouse.ingest.records import DOCUMENTS, OCCURRENCES, DocumentBatch, Reject, required
from warehouse.lake.commit import Staging

#: A row group of raw.documents has about this much text: DuckDB reads row groups in parallel, and one is held here.
ROW_GROUP = 32 << 20

#: A Parquet file of raw.documents is closed when it has this much text.
FILE_BYTES = 1 << 30

#: 16-byte digests in a Python set take about 100 bytes each.
SEEN = 1_000_000

(_FILE_ID,) = required(pa.string(), "file_id")
DOCUMENT_FILE = DOCUMENTS.append(*required(pa.string(), "first_file_id"))
OCCURRENCE_FILE = pa.schema(
    [column for column in OCCURRENCES if column.name != "position"] + [_FILE_ID, OCCURRENCES.field("position")]
)
REJECT_FILE = pa.schema(
    [_FILE_ID, *required(pa.int64(), "position"), *required(pa.string(), "reason"), ("raw", pa.binary())]
)


@dataclass(slots=True)
class FileEntry:
    """The row of a file in raw.files. ``rows`` and ``duplicates`` are final only after the commit.

    ``forgotten`` records had texts that are kept out; they do not count as rows. ``passed_over`` counts, by reason,
    records of web archives that are no documents.
    """

    file_id: str
    path: str
    bytes: int
    checksum: str
    format: str
    source: str
    modified_ns: int
    rows: int = 0
    duplicates: int = 0
    rejected: int = 0
    forgotten: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)


class TableWriter:
    """Writes the Parquet files of one table, row group by row group."""

    def __init__(self, staging: Staging, table: str, schema: pa.Schema) -> None:
        self._staging, self._table, self._schema = staging, table, schema
        self._writer: pq.ParquetWriter | None = None
        self._written = 0
        self._waiting: list[pa.Table] = []
        self.bytes = 0
        self.files: list[Path] = []

    def add(self, rows: pa.Table, size: int) -> pa.Table | None:
        """Collect rows; return a row group when there are enough."""
        self._waiting.append(rows)
        self.bytes += size
        return self.take() if self.bytes >= ROW_GROUP else None

    def take(self) -> pa.Table | None:
        """Return all rows that wait."""
        rows = pa.concat_tables(self._waiting) if self._waiting else None
        self._waiting, self.bytes = [], 0
        return rows

    def write(self, rows: pa.Table) -> None:
        """Write one row group."""
        if self._writer is None:
            path = self._staging.file(self._table)
            self.files.append(path)
            self._writer = open_writer(path, self._schema)
        self._writer.write_table(rows, row_group_size=max(rows.num_rows, 1))
        self._written += rows.nbytes
        if self._written >= FILE_BYTES:
            self.close()

    def close(self) -> None:
        """Finish the open file."""
        if self._writer is not None:
            self._writer.close()
            self._writer, self._written = None, 0


def open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a Parquet writer with the lake's settings. No statistics of texts: one may have 200 MB."""
    plain = {"text", "raw", "metadata", "doc_id", "url", "source_id"}
    named = [name for name in schema.names if not pa.types.is_nested(schema.field(name).type)]
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        data_page_version="2.0",  # version 1 holds a page twice: 200 MB more for a text of 200 MB
        compression_level=1,  # 310 MB/s a core where level 3 makes 250; files are 6 % larger
        use_dictionary=[name for name in named if name not in plain],
        write_statistics=[name for name in named if name not in ("text", "raw", "metadata")],
    )


@dataclass(slots=True)
class CommitUnit:
    """Collects the rows of whole files. ``close`` ends the writing; the files are then ready for ``commit``."""

    staging: Staging
    entries: list[FileEntry] = field(default_factory=list)
    started: float = field(default_factory=monotonic)
    size: int = 0
    documents: TableWriter = field(init=False)
    occurrences: TableWriter = field(init=False)
    rejects: TableWriter = field(init=False)
    labels: TableWriter = field(init=False)
    _seen: set[bytes] = field(default_factory=set)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _pending: list[Future[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.documents = TableWriter(self.staging, "raw.documents", DOCUMENT_FILE)
        self.occurrences = TableWriter(self.staging, "raw.occurrences", OCCURRENCE_FILE)
        self.rejects = TableWriter(self.staging, "raw.rejects", REJECT_FILE)
        self.labels = TableWriter(self.staging, essential_web.STORE, store_schema(essential_web.ANSWERS))

    def add(self, entry: FileEntry, batch: DocumentBatch) -> None:
        """Add a batch of the file ``entry``."""
        entry.rows += len(batch.digests)
        entry.rejected += len(batch.rejects)
        entry.passed_over.update(batch.passed_over)
        self.size += batch.size
        if batch.rejects:
            size = sum(len(each.raw or b"") for each in batch.rejects)
            self._put(self.rejects, reject_rows(entry.file_id, batch.rejects), size)
        if not batch.digests:
            return
        documents = self._unseen(entry, batch)
        if documents.num_rows:
            first = pa.repeat(entry.file_id, documents.num_rows)
            self._put(self.documents, documents.append_column(DOCUMENT_FILE.field(3), first), documents.nbytes)
        file_id = pa.repeat(entry.file_id, batch.occurrences.num_rows)
        occurrences = batch.occurrences.append_column(_FILE_ID, file_id).select(OCCURRENCE_FILE.names)
        self._put(self.occurrences, occurrences, occurrences.nbytes)
        if batch.labels is not None:
            self._put(self.labels, batch.labels, batch.labels.nbytes)

    def close(self) -> None:
        """Write what waits and finish all files."""
        tables = (self.documents, self.occurrences, self.rejects, self.labels)
        for table in tables:
            self._write(table, table.take())
        self._drain(0)
        self._pool.shutdown()
        for table in tables:
            table.close()

    def discard(self) -> None:
        """Stop writing; what was written is removed with the staging folder."""
        self._pool.shutdown(cancel_futures=True)

    def _unseen(self, entry: FileEntry, batch: DocumentBatch) -> pa.Table:
        """Return the documents whose text this unit has not seen, as far as it remembers."""
        seen, fresh = self._seen, []
        for row, digest in enumerate(batch.digests):
            if digest not in seen:
                seen.add(digest)
                fresh.append(row)
        if len(seen) > SEEN:
            seen.clear()
        entry.duplicates += len(batch.digests) - len(fresh)
        return batch.documents.take(pa.array(fresh, pa.int64())) if len(fresh) < len(batch.digests) else batch.documents

    def _put(self, table: TableWriter, rows: pa.Table, size: int) -> None:
        self._write(table, table.add(rows, size))

    def _write(self, table: TableWriter, rows: pa.Table | None) -> None:
        """Write in the background: compression is half of the work, and it needs no interpreter lock."""
        if rows is None:
            return
        self._drain(1)
        self._pending.append(self._pool.submit(table.write, rows))

    def _drain(self, allowed: int) -> None:
        while len(self._pending) > allowed:
            try:
                self._pending.pop(0).result()
            except OSError as error:
                raise CuveeError(f"cannot write to the lake: {error}") from error


def reject_rows(file_id: str, rejects: Sequence[Reject]) -> pa.Table:
    """Make the rows of raw.rejects for the rejected records of a file."""
    rows = [(file_id, each.position, each.reason, each.raw) for each in rejects]
    return pa.table(list(zip(*rows, strict=True)), schema=REJECT_FILE)
