"""Read Parquet files of any schema that has a text column.

Rows are read in batches of bounded size, whatever the row groups are. A row group that cannot be read is rejected and
the next one is tried. A row's number in the file, counted from 1, is its position.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

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
    with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
        published = essential_web.is_published(file.schema_arrow)
        documents = ColumnarDocuments(path, source, options, file.schema_arrow)
        position = 1
        for group in range(file.num_row_groups):
            meta = file.metadata.row_group(group)
            done = 0
            try:
                for rows in file.iter_batches(_batch_rows(meta), row_groups=[group], use_threads=False):
                    labels = essential_web.labels(rows) if published else None
                    rest = rows.drop_columns([essential_web.COLUMN]) if published else rows
                    yield from documents.batches(rest, position + done, labels)
                    done += rows.num_rows
            except UNREADABLE as error:
                first, last = position + done, position + meta.num_rows - 1
                rejects.add(first, f"rows {first:,} to {last:,}: {_reason(error)}")
            position += meta.num_rows


def _batch_rows(group: pq.RowGroupMetaData) -> int:
    """Return the number of rows that are about one batch."""
    average = max(group.total_byte_size, 1) / max(group.num_rows, 1)
    return int(max(1, min(BATCH_ROWS, BATCH_BYTES / average)))


def _reason(error: Exception) -> str:
    message = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    if "encrypted" in message.lower() or "decrypt" in message.lower():
        return f"encrypted Parquet: decrypt it first ({message})"
    return f"unreadable Parquet: {message}"
