"""Read Arrow IPC files and streams (feather, the data of ``save_to_disk``) and ORC.

A row's number in the file, counted from 1, is its position. What cannot be read ends the file: both formats name no
rows behind it, except stripes of ORC, whose rows are rejected as records.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa

from udfs.errors import first_line
from warehouse.ingest.bytestream import BlockFile, blocks
from warehouse.ingest.formats.columnar import ColumnarDocuments, NoTextColumnError
from warehouse.ingest.formats.parquet import UNREADABLE, reject_rows
from warehouse.ingest.records import DocumentBatch, IngestOptions, RejectCollector


def read_arrow(path: Path, source: str, options: IngestOptions) -> Iterator[DocumentBatch]:
    """Read the documents of an Arrow file or stream."""
    rejects = RejectCollector(path, options.strict)
    position = 1
    try:
        with path.open("rb") as handle:
            is_file = handle.read(6) == b"ARROW1"
        for rows in _file(path) if is_file else _stream(path):
            if position == 1:
                documents = ColumnarDocuments(path, source, options, rows.schema)
            yield from documents.batches(rows, position)
            position += rows.num_rows
    except NoTextColumnError as error:
        rejects.add(0, str(error))
    except UNREADABLE as error:
        rejects.add(
            position if position > 1 else 0, f"unreadable Arrow data: {first_line(error)}; nothing behind it is read"
        )
    yield rejects.batch()


def _file(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as mapped, pa.ipc.open_file(mapped) as reader:
        yield from (reader.get_batch(index) for index in range(reader.num_record_batches))


def _stream(path: Path) -> Iterator[pa.RecordBatch]:
    with closing(blocks(path)) as stream:
        file = BlockFile(stream)
        with pa.ipc.open_stream(pa.PythonFile(file, mode="r")) as reader:
            yield from reader
        if file.damage is not None:
            raise OSError(file.damage.message)


def read_orc(path: Path, source: str, options: IngestOptions) -> Iterator[DocumentBatch]:
    """Read the documents of an ORC file."""
    from pyarrow import orc

    rejects = RejectCollector(path, options.strict)
    try:
        file = orc.ORCFile(str(path))
        documents = ColumnarDocuments(path, source, options, file.schema)
        position = 1
        for stripe in range(file.nstripes):
            try:
                rows = file.read_stripe(stripe)
                yield from documents.batches(rows, position)
                position += rows.num_rows
            except UNREADABLE as error:
                # How many rows a stripe has is known only where all others can be read.
                rest = file.nrows - sum(_rows(file, each) for each in range(file.nstripes) if each != stripe)
                yield from reject_rows(rejects, position, position + rest - 1, f"unreadable ORC: {first_line(error)}")
                position += rest
    except NoTextColumnError as error:
        rejects.add(0, str(error))
    except UNREADABLE as error:
        rejects.add(0, f"unreadable ORC: {first_line(error)}")
    yield rejects.batch()


def _rows(file: object, stripe: int) -> int:
    try:
        return int(file.read_stripe(stripe, columns=[]).num_rows)  # type: ignore[attr-defined]
    except UNREADABLE:
        return 0
