"""Build batches from records that come one by one: JSON objects, pages, text files.

Functions are called only for unusual fields: calls for every field took a tenth of the time of reading.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from warehouse.ingest import exact_json
from warehouse.ingest.records import (
    BATCH_BYTES,
    BATCH_ROWS,
    DOCUMENTS,
    LICENCE_FIELDS,
    OCCURRENCES,
    PUBLISHED_FIELDS,
    DocumentBatch,
    IngestOptions,
    Raw,
    RejectCollector,
    field_list,
    hex_ids,
)
from warehouse.ingest.times import is_iso, timestamp, unread_note

_DATED = frozenset(PUBLISHED_FIELDS)
_LICENSED = frozenset(LICENCE_FIELDS)


class InexactError(Exception):
    """A record's numbers may have lost digits when it was decoded: decode it by ``exact_json``."""


class RecordBuilder:
    """Collects documents of one file that come one by one.

    ``add`` and ``add_text`` raise InexactError for a record whose numbers may have lost digits, but not ``exactly``.
    """

    def __init__(self, path: Path, source: str, options: IngestOptions) -> None:
        self.options = options
        self.rejects = RejectCollector(path, options.strict)
        self.notes: Counter[str] = Counter()
        self._exact = False
        self._source = options.source or source
        self._forced = options.source is not None
        self._passed_over: Counter[str] = Counter()
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

    @contextmanager
    def exactly(self) -> Iterator[None]:
        """Take the records that are added inside as they are: none of their digits is lost."""
        self._exact = True
        try:
            yield
        finally:
            self._exact = False

    def add(self, record: object, position: int, raw: Raw) -> None:
        """Add the document that a decoded JSON value holds, or reject it. The record is consumed."""
        if type(record) is not dict:
            return self.rejects.add(position, f"not a JSON object but {_kind(record)}", raw)
        text = take_field(record, self.options.text_field)
        if type(text) is not str or not text:
            if self.options.sparse and text in (MISSING, None, ""):
                return None
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
        for name, value in self.options.columns:
            record.setdefault(name, value)
        source = self._source
        if "source" in record and not self._forced:
            source = self._own_source(record)
        url = record.pop(self.options.url_field, MISSING)
        if type(url) is not str:
            url = _unusual_url(record, self.options.url_field, url)
        source_id = record.pop(self.options.id_field, MISSING)
        if type(source_id) is not str:
            source_id = _unusual_id(record, self.options.id_field, source_id)
        published = licence = metadata = None
        if record:
            if not _DATED.isdisjoint(record):
                published = self._take_published(record)
            if not _LICENSED.isdisjoint(record):
                licence = _take_licence(record)
            try:
                metadata = metadata_json(record)
            except orjson.JSONEncodeError:
                return self.rejects.add(position, "a lone surrogate has no form in UTF-8", raw)
            if metadata is not None and not self._exact and exact_json.may_have_lost_digits(metadata):
                raise InexactError
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

    def pass_over(self, reason: str) -> None:
        """Count a record that is neither a document nor damaged; ``reason`` is one of PASSED_OVER."""
        self._passed_over[reason] += 1

    def take(self) -> DocumentBatch:
        """Return the batch collected so far, and begin the next."""
        columns = list(zip(*self._rows, strict=True)) or [()] * 9
        *found, positions, lengths, chars = columns
        doc_ids = hex_ids(self._digests)
        text = string_array(self._text, lengths)
        documents = pa.table([doc_ids, text, pa.array(chars, pa.int64())], schema=DOCUMENTS)
        middle = [_column(values, OCCURRENCES.field(1 + index).type) for index, values in enumerate(found)]
        occurrences = pa.table([doc_ids, *middle, pa.array(positions, pa.int64())], schema=OCCURRENCES)
        passed, self._passed_over = self._passed_over, Counter()
        notes, self.notes = self.notes, Counter()
        rejects = self.rejects.take()
        batch = DocumentBatch(documents, occurrences, self._digests, rejects, passed_over=passed, notes=notes)
        self._clear()
        return batch

    def _no_text(self, record: Mapping[str, object], text: object) -> str:
        name = self.options.text_field
        if text is MISSING:
            return f"no field {name!r}; {field_list(record)}"
        return f"{name} is empty" if text == "" else f"{name} is {_kind(text)}, not a string"

    def _take_published(self, record: dict[str, Any]) -> datetime | None:
        """Return the time of publication. What is not ISO 8601 stays in the metadata as it was written."""
        unread = None
        for name in PUBLISHED_FIELDS:
            value = record.get(name)
            if (moment := timestamp(value)) is not None:
                if is_iso(value):
                    del record[name]
                return moment
            if unread is None and value is not None and value != "":
                unread = name
        if unread is not None:
            self.notes[unread_note(unread)] += 1
        return None

    def _own_source(self, record: dict[str, Any]) -> str:
        """Return the record's own source, the file's if it has none."""
        value = record["source"]
        if value is None or value == "":
            del record["source"]
            return self._source
        if type(value) is not str:
            return self._source
        del record["source"]
        return value


#: The value of a field that is not there.
MISSING = object()


def take_field(record: dict[str, Any], name: str) -> Any:
    """Remove and return a field; ``a.b`` reaches into objects unless a field is spelled so. MISSING if absent.

    ``a.0`` is an element of a list, which stays whole.
    """
    value = record.pop(name, MISSING)
    return _take_nested(record, name) if value is MISSING and "." in name else value


def _take_nested(record: dict[str, Any], name: str) -> Any:
    first, _, rest = name.partition(".")
    inner = record.get(first)
    if isinstance(inner, list):
        # The list stays: its other elements are part of what is known of this one.
        return inner[int(rest)] if rest.isdecimal() and int(rest) < len(inner) else MISSING
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
    return exact_json.dumps(record) if record else None


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
    if (digits := exact_json.digits(value)) is not None:
        return digits
    if value is not MISSING and value is not None:
        record[name] = value
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
    if type(value) is float and not math.isfinite(value):
        return "NaN or Infinity"
    return "null" if value is None else names.get(type(value), "a number")
