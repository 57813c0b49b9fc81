"""What a reader yields: batches of documents with where they were found, and records that could not be read.

A reader turns one file into a stream of ``Batch``. ``RecordBuilder`` makes batches from records that come one by one
(JSON, pages, text files); ``warehouse.ingest.formats.columnar`` makes them from Arrow columns.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson
import pyarrow as pa

from udfs.errors import CuveeError, Location
from udfs.identity import file_digest

#: A longer record is rejected: at 256 MB, its bytes, its text and Parquet's copies of it still fit in 1 GB.
MAX_RECORD = 256 << 20

#: As much of a rejected record is kept. The reason says so when there was more.
RAW_LIMIT = 64 << 10

#: A batch ends when its texts reach this size or this number.
BATCH_BYTES = 16 << 20
BATCH_ROWS = 16_384

DOCUMENTS = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("n_chars", pa.int64(), nullable=False),
    ]
)
OCCURRENCES = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("source_id", pa.string()),
        pa.field("published_at", pa.timestamp("us", "UTC")),
        pa.field("licence", pa.string()),
        pa.field("metadata", pa.json_()),
        pa.field("position", pa.int64(), nullable=False),
    ]
)

#: Record fields that become columns of an occurrence, by the first name that is there.
PUBLISHED_FIELDS = ("created", "published_at", "published", "date")
LICENCE_FIELDS = ("license", "licence")
_DATED = frozenset(PUBLISHED_FIELDS)
_LICENSED = frozenset(LICENCE_FIELDS)


#: A record's bytes, or a view of them.
Raw = bytes | memoryview | None


class StrictError(CuveeError):
    """A record could not be read, and the caller asked for that to be fatal."""


@dataclass(frozen=True, slots=True)
class Options:
    """How records are read. A field name may reach into nested objects: ``payload.body``.

    ``tokenizer`` is the tokenizer.json by which token ids become text, where samples have no text.
    """

    source: str | None = None
    text_field: str = "text"
    id_field: str = "id"
    url_field: str = "url"
    strict: bool = False
    tokenizer: Path | None = None

    @property
    def fields(self) -> str:
        """Text that differs when the same bytes would give other documents; empty for the default fields."""
        names = (self.text_field, self.id_field, self.url_field)
        own = () if names == ("text", "id", "url") else names
        return "\0".join(own if self.tokenizer is None else (*own, file_digest(self.tokenizer)))


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that could not be read. ``position`` counts from 1; 0 stands for the file itself."""

    position: int
    reason: str
    raw: bytes | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents of one file. ``documents`` and ``occurrences`` have the same rows in the same order."""

    documents: pa.Table
    occurrences: pa.Table
    digests: Sequence[bytes]
    rejects: Sequence[Reject] = ()
    labels: pa.Table | None = None

    @property
    def size(self) -> int:
        """Bytes of text and metadata."""
        return int(self.documents.nbytes + self.occurrences.nbytes)


@dataclass(slots=True)
class Rejects:
    """Collects rejected records of one file; the first is fatal under --strict."""

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
        """The rejects collected since the last call."""
        rows, self.rows, self.bytes = self.rows, [], 0
        return rows


class RecordBuilder:
    """Collects documents of one file, given one by one."""

    def __init__(self, path: Path, source: str, options: Options) -> None:
        self.options = options
        self.rejects = Rejects(path, options.strict)
        self._source = options.source or source
        self._forced = options.source is not None
        self._sources: dict[str, str | None] = {}
        self._clear()

    def _clear(self) -> None:
        self._rows: list[tuple[Any, ...]] = []
        self._digests: list[bytes] = []
        self._text: bytearray | bytes = b""
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether it is time to take a batch."""
        return (
            self._bytes + self.rejects.bytes >= BATCH_BYTES
            or len(self._digests) >= BATCH_ROWS
            or len(self.rejects.rows) >= BATCH_ROWS
        )

    def add(self, record: object, position: int, raw: Raw) -> None:
        """Add the document that a decoded JSON value holds, or reject it. The record is consumed."""
        if type(record) is not dict:
            return self.rejects.add(position, f"not a JSON object but {_kind(record)}", raw)
        text = take_field(record, self.options.text_field)
        if type(text) is not str or not text:
            return self.rejects.add(position, self._no_text(record, text), raw)
        try:
            data = text.encode()
        except UnicodeEncodeError:
            return self.rejects.add(position, "a lone surrogate has no form in UTF-8", raw)
        return self.add_text(data, len(text), position, record, raw)

    def add_text(
        self, data: bytes | bytearray, n_chars: int, position: int, record: dict[str, Any], raw: Raw = None
    ) -> None:
        """Add a document whose text is ready; ``record`` holds its other fields and is consumed."""
        source: str | None = self._source
        if "source" in record and not self._forced:
            source = self._own_source(record)
            if source is None:
                return self.rejects.add(position, "its source cannot be the name of a partition", raw)
        # Functions are called only for what is unusual: calls for every field took a tenth of the time of reading.
        url = record.pop(self.options.url_field, MISSING)
        if type(url) is not str:
            url = _unusual_url(record, self.options.url_field, url)
        source_id = record.pop(self.options.id_field, MISSING)
        if type(source_id) is not str:
            source_id = _unusual_id(record, self.options.id_field, source_id)
        published = licence = metadata = None
        if record:
            if not _DATED.isdisjoint(record):
                published = _take_published(record)
            if not _LICENSED.isdisjoint(record):
                licence = _take_licence(record)
            metadata = metadata_json(record)
        # One tuple a record: ten lists of columns took a tenth of the time of reading.
        self._rows.append((source, url, source_id, published, licence, metadata, position, len(data), n_chars))
        self._append(data)
        self._digests.append(hashlib.sha256(data).digest()[:16])
        self._bytes += len(data) + (len(metadata) if metadata else 0)
        return None

    def _append(self, data: bytes | bytearray) -> None:
        """Add to the text column. Its one buffer is what Arrow takes over; the first text alone is not copied."""
        if not self._text:
            self._text = data
            return
        if type(self._text) is bytes:
            self._text = bytearray(self._text)
        self._text += data

    def take(self) -> Batch:
        """The batch collected so far."""
        columns = list(zip(*self._rows, strict=True)) or [()] * 9
        *found, positions, lengths, chars = columns
        doc_ids = hex_ids(self._digests)
        text = string_array(self._text, lengths)
        documents = pa.table([doc_ids, text, pa.array(chars, pa.int64())], schema=DOCUMENTS)
        middle = [_column(values, OCCURRENCES.field(1 + index).type) for index, values in enumerate(found)]
        occurrences = pa.table([doc_ids, *middle, pa.array(positions, pa.int64())], schema=OCCURRENCES)
        batch = Batch(documents, occurrences, self._digests, self.rejects.take())
        self._clear()
        return batch

    def _no_text(self, record: Mapping[str, object], text: object) -> str:
        name = self.options.text_field
        if text is MISSING:
            return f"no field {name!r}; {field_list(record)}"
        return f"{name} is empty" if text == "" else f"{name} is {_kind(text)}, not a string"

    def _own_source(self, record: dict[str, Any]) -> str | None:
        """The record's own source, the file's if it has none, None if it cannot stand in a path."""
        value = record["source"]
        if value is None or value == "":
            del record["source"]
            return self._source
        if type(value) is not str:
            return self._source
        if value not in self._sources:
            if len(self._sources) > 10_000:
                self._sources.clear()
            self._sources[value] = source_name(value)
        del record["source"]
        return self._sources[value]


class _Missing:
    """Stands for a field that is not there."""


MISSING = _Missing()


def take_field(record: dict[str, Any], name: str) -> Any:
    """Remove and return a field; ``a.b`` reaches into objects unless a field is spelled so. MISSING if absent."""
    value = record.pop(name, MISSING)
    return _take_nested(record, name) if value is MISSING and "." in name else value


def _take_nested(record: dict[str, Any], name: str) -> Any:
    first, _, rest = name.partition(".")
    inner = record.get(first)
    return take_field(inner, rest) if isinstance(inner, dict) else MISSING


def metadata_json(record: dict[str, Any]) -> bytes | None:
    """The fields that have no column, as JSON. Those of an object called ``metadata`` stand beside the others.

    Where both have a field of one name, the inner one stays inside ``metadata``.

    >>> metadata_json({"added": "2024", "metadata": {"lang": "en", "added": 1}})
    b'{"lang":"en","added":"2024","metadata":{"added":1}}'
    """
    inner = record.get("metadata")
    if type(inner) is dict:
        del record["metadata"]
        clash = inner.keys() & record.keys()
        kept = {name: inner[name] for name in inner if name in clash} if clash else None
        record = {**inner, **record} if record else inner
        if kept:
            record["metadata"] = kept
    return orjson.dumps(record, default=str, option=orjson.OPT_NON_STR_KEYS) if record else None


def source_name(value: str) -> str | None:
    """``value`` if it can name a partition folder, else None.

    A folder's name has at most 255 bytes, and DuckDB reads a partition called NULL as no value.
    """
    reserved = value.lower() == "null" or value == "__HIVE_DEFAULT_PARTITION__"
    return None if not value or reserved or len(quote(value, safe="")) > 240 else value


def field_list(names: Mapping[str, object] | Sequence[str]) -> str:
    """What a record has instead of a text, and what to do."""
    listed = list(names)
    if not listed:
        return "it has no fields"
    shown = ", ".join(listed[:8]) + (", …" if len(listed) > 8 else "")
    return f"it has {shown}; choose one with --text-field"[:400]


def utf8_length(data: bytes | bytearray | memoryview) -> int:
    """The number of characters in UTF-8 bytes, without holding them all as a Python string.

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
    """doc_ids of 16-byte digests, as an Arrow column."""
    n = len(digests)
    offsets = np.arange(n + 1, dtype=np.int32) * 32
    return pa.Array.from_buffers(
        pa.string(), n, [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(digests).hex().encode())]
    )


def string_array(data: bytes | bytearray, lengths: Sequence[int]) -> pa.Array:
    """UTF-8 bytes of values one after the other as an Arrow string column, without a copy."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.Array.from_buffers(pa.string(), len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def timestamp(value: object) -> datetime | None:
    """A time from ISO 8601 text, in UTC; a time without a zone is taken as UTC. None if it is anything else."""
    if type(value) is not str or not 8 <= len(value) <= 40:
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if not any(value is not None for value in values):
        nulls = pa.nulls(len(values), pa.string() if kind == pa.json_() else kind)
        return nulls.cast(kind) if kind == pa.json_() else nulls
    if kind == pa.json_():
        # orjson's output is UTF-8 by construction: taken over without another check.
        binary = pa.array(values, pa.binary())
        text = pa.Array.from_buffers(pa.string(), len(binary), binary.buffers(), binary.null_count)
        return pa.ExtensionArray.from_storage(pa.json_(), text)
    return pa.array(values, kind)


def _unusual_url(record: dict[str, Any], name: str, value: Any) -> str | None:
    """The URL where the field is no string: nested, or inside ``metadata``, as Dolma has it."""
    if value is MISSING and "." in name:
        value = _take_nested(record, name)
        if type(value) is str:
            return value
    if value is not MISSING and value is not None:
        record[name] = value
    inner = record.get("metadata")
    if type(inner) is dict and type(inner.get(name)) is str:
        url: str = inner.pop(name)
        return url
    return None


def _unusual_id(record: dict[str, Any], name: str, value: Any) -> str | None:
    """The id where the field is no string: nested, or a number."""
    if value is MISSING and "." in name:
        value = _take_nested(record, name)
        if type(value) is str:
            return value
    if type(value) is int:
        return str(value)
    if value is not MISSING and value is not None:
        record[name] = value
    return None


def _take_published(record: dict[str, Any]) -> datetime | None:
    for name in PUBLISHED_FIELDS:
        if name in record:
            moment = timestamp(record[name])
            if moment is not None:
                del record[name]
                return moment
    return None


def _take_licence(record: dict[str, Any]) -> str | None:
    for name in LICENCE_FIELDS:
        value = record.get(name)
        if type(value) is str and value:
            del record[name]
            return value
    return None


def _kind(value: object) -> str:
    names: dict[type, str] = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")
