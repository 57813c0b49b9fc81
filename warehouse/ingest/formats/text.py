"""Read text, Markdown and source files: one document a file.

The text is the file's content unchanged, with carriage returns and control characters other than NUL, but without a
byte order mark. A file that is not UTF-8 is rejected; one of 0 bytes holds no document.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from warehouse.ingest.bytestream import DamagedStreamError, blocks
from warehouse.ingest.record_builder import RecordBuilder
from warehouse.ingest.records import MAX_RECORD, RAW_LIMIT, DocumentBatch, IngestOptions, utf8_length


def read_text(
    path: Path, source: str, options: IngestOptions, *, name: str | None = None, record: dict[str, Any] | None = None
) -> Iterator[DocumentBatch]:
    """Read a file as one document. ``record`` has more fields for its occurrence; ``name`` is its source_id."""
    builder = RecordBuilder(path, source, options)
    fields = {**(record or {})}
    if name is not None:
        fields.setdefault(options.id_field, name)
    try:
        data = _content(path)
    except DamagedStreamError as error:
        builder.rejects.add(0, error.message)
    except OverflowError:
        builder.rejects.add(0, f"text is longer than {MAX_RECORD >> 20} MB")
    else:
        add_document(builder, data, 1, fields)
    yield builder.take()


def add_document(builder: RecordBuilder, data: bytes, position: int, record: dict[str, Any]) -> None:
    """Add a text, or reject it if it is binary or not UTF-8."""
    if b"\0" in data:
        return builder.rejects.add(position, "binary: it holds NUL bytes", data[: RAW_LIMIT + 1], len(data))
    try:
        n_chars = utf8_length(data)
    except UnicodeDecodeError as error:
        reason = f"not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start:,}"
        return builder.rejects.add(position, reason, data[: RAW_LIMIT + 1], len(data))
    if not n_chars:
        return None
    return builder.add_text(data, n_chars, position, record=record)


def _content(path: Path) -> bytes:
    pieces: list[bytes] = []
    size = 0
    with closing(blocks(path)) as stream:
        for block in stream:
            pieces.append(block)
            size += len(block)
            if size > MAX_RECORD:
                raise OverflowError
    data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return data.removeprefix(b"\xef\xbb\xbf")
