"""Batches of documents with the places where they were found, and records that could not be read.

A reader turns one file into a stream of ``DocumentBatch``. ``record_builder`` makes batches from records that come one
by one (JSON, pages, text files); ``formats.columnar`` makes them from Arrow columns.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from udfs.errors import LakeError, Location
from udfs.identity import file_digest

#: A longer record is rejected: at 256 MB, its bytes, its text and Parquet's copies of it still fit in 1 GB.
MAX_RECORD = 256 << 20

#: This much of a rejected record is kept. The reason says so when there was more.
RAW_LIMIT = 64 << 10

#: A batch ends when its texts reach this size or this number.
BATCH_BYTES = 16 << 20
BATCH_ROWS = 16_384


def required(kind: pa.DataType, *names: str) -> list[pa.Field]:
    """Make columns of one type without NULL."""
    return [pa.field(name, kind, nullable=False) for name in names]


DOCUMENTS = pa.schema([*required(pa.string(), "doc_id", "text"), *required(pa.int64(), "n_chars")])
OCCURRENCES = pa.schema(
    [
        *required(pa.string(), "doc_id", "source"),
        *((name, pa.string()) for name in ("url", "source_id")),
        ("published_at", pa.timestamp("us", "UTC")),
        ("licence", pa.string()),
        ("metadata", pa.json_()),
        *required(pa.int64(), "position"),
    ]
)

#: Record fields that become columns of an occurrence, by the first name that is there.
PUBLISHED_FIELDS = ("created", "published_at", "published", "date")
LICENCE_FIELDS = ("license", "licence")

#: Why a web archive's record is not a document, though nothing is wrong with it. These are columns of raw.files.
PASSED_OVER = {
    "not_pages": "no page: a request, metadata, a revisit",
    "other_status": "a page answered with another status than 200",
    "not_html": "neither HTML nor plain text",
    "empty": "a page without any text",
}

#: Formats whose HTML becomes text by the extractor.
EXTRACTED = frozenset(("warc", "arc", "html"))

#: A record's bytes, or a view of them.
Raw = bytes | memoryview | None


class StrictError(LakeError):
    """A record could not be read, and the caller asked for that to be fatal."""


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """The options for reading records. A field name may reach into nested objects: ``payload.body``.

    The text may be an element of a list: ``choices.0``. Under ``sparse``, a record without the text is left out and
    not rejected. ``extractor`` makes text of HTML. ``tokenizer`` is the tokenizer.json that turns token ids into text,
    where samples have no text. ``delimiter`` is that of tables, ``scratch`` a folder for files that are needed while
    one is read. ``columns`` are fields of all records of a file that have none of that name: those of its Hive folders.
    """

    source: str | None = None
    text_field: str = "text"
    id_field: str = "id"
    url_field: str = "url"
    strict: bool = False
    tokenizer: Path | None = None
    sparse: bool = False
    delimiter: str | None = None
    scratch: Path | None = None
    extractor: str = "resiliparse"
    columns: tuple[tuple[str, str | None], ...] = ()

    @property
    def fields(self) -> str:
        """Text that differs if other options give other documents of any bytes; empty for the defaults."""
        names = (self.text_field, self.id_field, self.url_field)
        own = () if names == ("text", "id", "url") else names
        own = own if self.delimiter is None else (*own, self.delimiter)
        return "\0".join(own if self.tokenizer is None else (*own, file_digest(self.tokenizer)))

    def fields_of(self, format: str) -> str:
        """Text that differs if other options give other documents of a file of this format."""
        named = format in EXTRACTED and self.extractor != "resiliparse"
        return f"{self.fields}\0extractor {self.extractor}" if named else self.fields


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that could not be read. ``position`` counts from 1; 0 means the file itself."""

    position: int
    reason: str
    raw: bytes | None


@dataclass(frozen=True, slots=True)
class DocumentBatch:
    """Documents of one file. ``documents`` and ``occurrences`` have the same rows in the same order.

    ``notes`` counts what was not kept as it was found, though its document stays. ``passed_over`` counts records that
    are neither documents nor rejects, by a reason of PASSED_OVER.
    """

    documents: pa.Table
    occurrences: pa.Table
    digests: Sequence[bytes]
    rejects: Sequence[Reject] = ()
    labels: pa.Table | None = None
    notes: Mapping[str, int] = field(default_factory=dict)
    passed_over: Mapping[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The bytes of text and metadata."""
        return int(self.documents.nbytes + self.occurrences.nbytes)


@dataclass(slots=True)
class RejectCollector:
    """The rejected records of one file. The first is fatal under --strict."""

    path: Path
    strict: bool
    rows: list[Reject] = field(default_factory=list)
    bytes: int = 0

    def add(self, position: int, reason: str, raw: Raw = None, size: int | None = None) -> None:
        """Keep a record that could not be read. ``size`` is its true length, where ``raw`` is only its beginning."""
        if self.strict:
            raise StrictError(
                reason, where=Location(str(self.path), position or None), hint="without --strict it goes to raw.rejects"
            )
        size = size or (len(raw) if raw is not None else 0)
        if raw is not None and size > RAW_LIMIT:
            raw = raw[:RAW_LIMIT]
            reason = f"{reason} (the first {len(raw):,} of {size:,} bytes are kept)"
        kept = None if raw is None else raw.tobytes() if isinstance(raw, memoryview) else raw
        self.rows.append(Reject(position, reason, kept))
        self.bytes += len(kept or b"")

    def take(self) -> list[Reject]:
        """Return the rejects collected since the last call."""
        rows, self.rows, self.bytes = self.rows, [], 0
        return rows

    def batch(self) -> DocumentBatch:
        """Make a batch of these rejects only."""
        return DocumentBatch(DOCUMENTS.empty_table(), OCCURRENCES.empty_table(), [], self.take())


def field_list(names: Mapping[str, object] | Sequence[str]) -> str:
    """Say which fields there are instead of a text, and what to do."""
    listed = list(names)
    if not listed:
        return "it has no fields"
    shown = ", ".join(listed[:8]) + (", …" if len(listed) > 8 else "")
    return f"it has {shown}; choose one with --text-field"[:400]


def utf8_length(data: bytes | bytearray | memoryview) -> int:
    """Count the characters in UTF-8 bytes, without a Python string of all of them.

    Raises UnicodeDecodeError, whose ``start`` is counted from the beginning of ``data``.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    view, count, done = memoryview(data), 0, 0
    while True:
        piece = view[done : done + (1 << 20)]
        pending = len(decoder.getstate()[0])
        try:
            count += len(decoder.decode(piece, final=not len(piece)))
        except UnicodeDecodeError as error:
            error.start += done - pending
            raise
        if not len(piece):
            return count
        done += len(piece)


def hex_ids(digests: Sequence[bytes]) -> pa.Array:
    """Return the doc_ids of 16-byte digests, as an Arrow column."""
    n = len(digests)
    offsets = np.arange(n + 1, dtype=np.int32) * 32
    return pa.Array.from_buffers(
        pa.string(), n, [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(digests).hex().encode())]
    )
