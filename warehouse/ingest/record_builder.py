"""Build batches from records that come one by one: JSON objects, pages, text files.

Functions are called only for unusual fields: calls for every field took a tenth of the time of reading.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from warehouse.ingest import records
from warehouse.ingest.records import (
    LICENCE_FIELDS,
    PUBLISHED_FIELDS,
    DocumentBatch,
    IngestOptions,
    Raw,
    RejectCollector,
)

_DATED = frozenset(PUBLISHED_FIELDS)
_LICENSED = frozenset(LICENCE_FIELDS)


class RecordBuilder:
    """Collects documents of one file that come one by one."""

    def __init__(self, path: Path, source: str, options: IngestOptions) -> None:
        self.options = options
        self.rejects = RejectCollector(path, options.strict)
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
            self._bytes + self.rejects.bytes >= records.BATCH_BYTES
            or len(self._digests) >= records.BATCH_ROWS
            or len(self.rejects.rows) >= records.BATCH_ROWS
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
        return self.add_text(data, len(text), position, record=record, raw=raw)

    def add_text(
        self, data: bytes | bytearray, n_chars: int, position: int, record: dict[str, Any], raw: Raw = None
    ) -> None:
        """Add a document whose text is ready; ``record`` holds its other fields and is consumed."""
        source: str | None = self._source
        if "source" in record and not self._forced:
            source = self._own_source(record)
            if source is None:
                return self.rejects.add(position, "its source cannot be the name of a partition", raw)
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

    def take(self) -> DocumentBatch:
        """Return the batch collected so far, and begin the next."""
        columns = list(zip(*self._rows, strict=True)) or [()] * 9
        *found, positions, lengths, chars = columns
        doc_ids = records.hex_ids(self._digests)
        text = string_array(self._text, lengths)
        documents = pa.table([doc_ids, text, pa.array(chars, pa.int64())], schema=records.DOCUMENTS)
        middle = [_column(values, records.OCCURRENCES.field(1 + index).type) for index, values in enumerate(found)]
        occurrences = pa.table([doc_ids, *middle, pa.array(positions, pa.int64())], schema=records.OCCURRENCES)
        batch = DocumentBatch(documents, occurrences, self._digests, self.rejects.take())
        self._clear()
        return batch

    def _no_text(self, record: Mapping[str, object], text: object) -> str:
        name = self.options.text_field
        if text is MISSING:
            return f"no field {name!r}; {records.field_list(record)}"
        return f"{name} is empty" if text == "" else f"{name} is {_kind(text)}, not a string"

    def _own_source(self, record: dict[str, Any]) -> str | None:
        """Return the record's own source, the file's if it has none, None if it cannot be part of a path."""
        value = record["source"]
        if value is None or value == "":
            del record["source"]
            return self._source
        if type(value) is not str:
            return self._source
        if value not in self._sources:
            if len(self._sources) > 10_000:
                self._sources.clear()
            self._sources[value] = records.source_name(value)
        del record["source"]
        return self._sources[value]


#: The value of a field that is not there.
MISSING = object()


def take_field(record: dict[str, Any], name: str) -> Any:
    """Remove and return a field; ``a.b`` reaches into objects unless a field is spelled so. MISSING if absent."""
    value = record.pop(name, MISSING)
    return _take_nested(record, name) if value is MISSING and "." in name else value


def _take_nested(record: dict[str, Any], name: str) -> Any:
    first, _, rest = name.partition(".")
    inner = record.get(first)
    return take_field(inner, rest) if isinstance(inner, dict) else MISSING


def metadata_json(record: dict[str, Any]) -> bytes | None:
    """Write the fields that have no column as JSON. Those of an object called ``metadata`` are put next to the others.

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


def string_array(data: bytes | bytearray, lengths: Sequence[int]) -> pa.Array:
    """Make an Arrow string column of the UTF-8 bytes of all values in a row, without a copy."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.Array.from_buffers(pa.string(), len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


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
    """Find the URL where the field is not a string: nested, or inside ``metadata``, as in Dolma."""
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
    """Find the id where the field is not a string: nested, or a number."""
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
        if name in record and (moment := records.timestamp(record[name])) is not None:
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
