"""Read Parquet files of any schema that has a text column.

Rows are read in batches of bounded size, whatever the row groups are. Checksums of pages are verified where a file has
them. Rows of a row group whose texts cannot be read are rejected and the next one is tried; another column that cannot
be read becomes null there. A row's number in the file, counted from 1, is its position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from udfs.errors import first_line
from warehouse.ingest.formats import essential_web
from warehouse.ingest.formats.columnar import ColumnarDocuments, NoTextColumnError
from warehouse.ingest.records import BATCH_BYTES, BATCH_ROWS, DocumentBatch, IngestOptions, RejectCollector

#: Errors that pyarrow raises for invalid files.
UNREADABLE = (OSError, pa.ArrowException, ValueError, OverflowError, RecursionError)

#: Columns are read through a buffer of this size: a whole column chunk can be as large as the file.
_BUFFER = 4 << 20


def read_parquet(path: Path, source: str, options: IngestOptions) -> Iterator[DocumentBatch]:
    """Read the documents of a Parquet file."""
    rejects = RejectCollector(path, options.strict)
    try:
        yield from _read(path, source, options, rejects)
    except NoTextColumnError as error:
        rejects.add(0, str(error))
    except UNREADABLE as error:
        rejects.add(0, _reason(error))
    yield rejects.batch()


def _read(path: Path, source: str, options: IngestOptions, rejects: RejectCollector) -> Iterator[DocumentBatch]:
    # Spark's old times are read as microseconds: as nanoseconds those before 1677 and after 2262 would be others.
    with pq.ParquetFile(
        path, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True, coerce_int96_timestamp_unit="us"
    ) as file:
        documents = ColumnarDocuments(path, source, options, file.schema_arrow)
        position = 1
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            done = 0
            columns = file.schema_arrow.names
            while done < rows:
                try:
                    for part in _rows(file, group, columns, done):
                        labels = essential_web.labels(part) if essential_web.is_published(part.schema) else None
                        rest = part.drop_columns([essential_web.COLUMN]) if labels is not None else part
                        yield from documents.batches(rest, position + done, labels)
                        done += part.num_rows
                    break
                except UNREADABLE as error:
                    # Columns next to the text cost no document: the columns that can be read are.
                    readable = [name for name in dict.fromkeys(columns) if _is_readable(file, group, name)]
                    if len(readable) < len(set(columns)) and _has_text(readable, options.text_field):
                        for name in set(columns) - set(readable):
                            documents.notes[f"column {name!r} cannot be read: it became null"] += rows - done
                        columns = readable
                        continue
                    yield from reject_rows(rejects, position + done, position + rows - 1, _reason(error))
                    break
            position += rows


def _rows(file: pq.ParquetFile, group: int, columns: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a row group behind the first ones."""
    chosen = None if len(columns) == len(file.schema_arrow.names) else columns
    size = _batch_rows(file.metadata.row_group(group))
    for rows in file.iter_batches(size, row_groups=[group], columns=chosen, use_threads=False):
        if skip >= rows.num_rows:
            skip -= rows.num_rows
            continue
        yield rows.slice(skip)
        skip = 0


def _is_readable(file: pq.ParquetFile, group: int, column: str) -> bool:
    try:
        for _ in _rows(file, group, [column], 0):
            pass
    except UNREADABLE:
        return False
    return True


def _has_text(columns: Sequence[str], name: str) -> bool:
    return name in columns or name.partition(".")[0] in columns


def reject_rows(rejects: RejectCollector, first: int, last: int, reason: str) -> Iterator[DocumentBatch]:
    """Reject rows, each as a record."""
    for row in range(first, last + 1):
        rejects.add(row, f"rows {first:,} to {last:,}: {reason}")
        if len(rejects.rows) >= BATCH_ROWS:
            yield rejects.batch()


def _batch_rows(group: pq.RowGroupMetaData) -> int:
    """Return the number of rows that are about one batch."""
    average = max(group.total_byte_size, 1) / max(group.num_rows, 1)
    return int(max(1, min(BATCH_ROWS, BATCH_BYTES / average)))


def _reason(error: Exception) -> str:
    message = first_line(error)
    if "encrypted" in message.lower() or "decrypt" in message.lower():
        return f"encrypted Parquet: decrypt it first ({message})"
    return f"unreadable Parquet: {message}"
