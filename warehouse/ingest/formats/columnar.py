"""Make documents from Arrow columns (Parquet, MDS) without a Python object for each text.

Texts are hashed in Arrow's own buffers. All other columns become the occurrence's metadata, as one JSON object.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from udfs.errors import first_line
from warehouse.ingest.formats.json_rows import REFUSED, JsonRows, nulls, valid
from warehouse.ingest.records import (
    BATCH_BYTES,
    DOCUMENTS,
    LICENCE_FIELDS,
    MAX_RECORD,
    OCCURRENCES,
    PUBLISHED_FIELDS,
    RAW_LIMIT,
    DocumentBatch,
    IngestOptions,
    RejectCollector,
    field_list,
    hex_ids,
    utf8_length,
)
from warehouse.ingest.times import timestamp, unread_note


class NoTextColumnError(Exception):
    """A table has no column that can be the text; the message says what it has."""


class ColumnarDocuments:
    """Turns record batches of one file into documents."""

    def __init__(self, path: Path, source: str, options: IngestOptions, schema: pa.Schema) -> None:
        """Check the schema. Raises NoTextColumnError if it has no text column."""
        self.rejects = RejectCollector(path, options.strict)
        self.notes: Counter[str] = Counter()
        self._source, self._forced = options.source or source, options.source is not None
        self._options = options
        self._json = JsonRows(self.notes)
        if (same := schema.names.count(options.text_field)) > 1:
            raise NoTextColumnError(f"{same} columns are called {options.text_field!r}: give them names of their own")
        text = _field(schema, options.text_field)
        if text is None:
            raise NoTextColumnError(f"no column {options.text_field!r}; {field_list(schema.names)}")
        if not _is_text(text.type):
            raise NoTextColumnError(f"column {options.text_field!r} is {text.type}, not text")

    def batches(self, rows: pa.RecordBatch, position: int, labels: pa.Table | None = None) -> Iterator[DocumentBatch]:
        """Yield the documents of consecutive rows, the first of which has the number ``position``.

        ``labels`` has a row for each row, with a doc_id column to be filled; see ``essential_web``.
        """
        if rows.nbytes > 4 * BATCH_BYTES and rows.num_rows > 1:
            yield from self._halves(rows, position, labels)
            return
        before, notes = len(self.rejects.rows), Counter(self.notes)
        try:
            batch = self._batch(rows, position, labels)
        except REFUSED as error:
            # Nothing of the batch was given: its rows are tried in parts, and a row that fails alone is one reject.
            del self.rejects.rows[before:]
            self.notes.clear()
            self.notes.update(notes)
            if rows.num_rows > 1:
                yield from self._halves(rows, position, labels)
                return
            self.rejects.add(position, f"cannot be read: {first_line(error)}")
            batch = self.rejects.batch()
        yield batch

    def _halves(self, rows: pa.RecordBatch, position: int, labels: pa.Table | None) -> Iterator[DocumentBatch]:
        half = rows.num_rows // 2
        yield from self.batches(rows.slice(0, half), position, labels.slice(0, half) if labels else None)
        yield from self.batches(rows.slice(half), position + half, labels.slice(half) if labels else None)

    def _batch(self, rows: pa.RecordBatch, position: int, labels: pa.Table | None) -> DocumentBatch:
        columns = _columns(rows)
        for name, value in self._options.columns:
            columns.setdefault(name, pa.repeat(pa.scalar(value, pa.string()), rows.num_rows))
        positions = np.arange(position, position + rows.num_rows, dtype=np.int64)
        texts = take_column(columns, self._options.text_field)
        assert texts is not None
        texts, good = self._checked(texts, positions)
        columns = {name: valid(name, column, self.notes) for name, column in columns.items()}
        sources = self._sources(columns)
        kept = pa.array(good)
        texts, positions = texts.filter(kept), positions[good]
        columns = {name: column.filter(kept) for name, column in columns.items()}
        digests = hash_texts(texts)
        doc_ids = hex_ids(digests)
        n = len(texts)
        found = {
            "doc_id": doc_ids,
            "source": sources.filter(kept) if sources is not None else pa.repeat(self._source, n),
            "url": _url(columns, self._options.url_field, n),
            "source_id": _id(columns, self._options.id_field, n),
            "published_at": _published(columns, n, self.notes),
            "licence": _text_column(columns, [name for name in LICENCE_FIELDS if name in columns], n),
            "metadata": self._json.rows(_flattened(columns), n),
            "position": pa.array(positions),
        }
        documents = pa.table([doc_ids, texts, pc.utf8_length(texts).cast(pa.int64())], schema=DOCUMENTS)
        occurrences = pa.table([found[name] for name in OCCURRENCES.names], schema=OCCURRENCES)
        if labels is not None:
            labels = labels.filter(kept).set_column(0, labels.schema.field(0), doc_ids)
        notes = dict(self.notes)
        self.notes.clear()
        return DocumentBatch(documents, occurrences, digests, self.rejects.take(), labels, notes)

    def _checked(self, texts: pa.Array, positions: NDArray[Any]) -> tuple[pa.Array, NDArray[Any]]:
        """Return texts as UTF-8 strings, and which rows have one. The others are rejected."""
        texts = _plain(texts, pa.binary())
        name = self._options.text_field
        sizes = pc.fill_null(pc.binary_length(texts), -1).to_numpy(zero_copy_only=False)
        good: NDArray[Any] = (sizes > 0) & (sizes <= MAX_RECORD)
        for row in np.flatnonzero(~good):
            if self._options.sparse and sizes[row] <= 0:
                continue
            if sizes[row] > MAX_RECORD:
                head = texts[int(row)].as_buffer().slice(0, RAW_LIMIT).to_pybytes()
                reason = f"text is longer than {MAX_RECORD >> 20} MB"
                self.rejects.add(int(positions[row]), reason, head, int(sizes[row]))
            else:
                self.rejects.add(int(positions[row]), f"{name} is {'null' if sizes[row] < 0 else 'empty'}")
        try:
            return texts.cast(pa.string()), good
        except pa.ArrowInvalid:
            pass
        for row in np.flatnonzero(good):
            data = texts[int(row)].as_buffer()
            try:
                utf8_length(memoryview(data))
            except UnicodeDecodeError as error:
                good[row] = False
                reason = f"{name} is not UTF-8 at offset {error.start:,}"
                self.rejects.add(int(positions[row]), reason, memoryview(data))
        return pc.if_else(pa.array(good), texts, None).cast(pa.string()), good

    def _sources(self, columns: dict[str, pa.Array]) -> pa.Array | None:
        """Return each row's own source, if the table has such a column and the caller named none."""
        if self._forced or "source" not in columns or not _is_text(columns["source"].type):
            return None
        own = _plain(columns.pop("source"), pa.string())
        return pc.if_else(pc.fill_null(pc.equal(own, ""), True), self._source, own)


def hash_texts(texts: pa.StringArray) -> list[bytes]:
    """Return the first 16 bytes of each text's SHA-256, read from Arrow's buffer."""
    if not len(texts):
        return []
    _, offsets_buffer, data = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[texts.offset : texts.offset + len(texts) + 1].tolist()
    view = memoryview(data) if data is not None else memoryview(b"")
    sha256 = hashlib.sha256
    return [sha256(view[a:b]).digest()[:16] for a, b in itertools.pairwise(offsets)]


def take_column(columns: dict[str, pa.Array], name: str) -> pa.Array | None:
    """Remove and return a column; ``a.b`` reaches into structs unless a column has this name.

    ``a.0`` is the first element of each list; the lists stay whole.
    """
    if name in columns or "." not in name:
        return columns.pop(name, None)
    first, _, rest = name.partition(".")
    if first in columns and _is_list(columns[first].type) and rest.isdecimal():
        return _elements(columns[first], int(rest))
    if first not in columns or not pa.types.is_struct(columns[first].type):
        return None
    inner = _children(columns[first])
    found = take_column(inner, rest)
    if found is not None:
        columns[first] = _struct(inner, columns[first])
    return found


def _field(schema: pa.Schema | pa.StructType, name: str) -> pa.Field | None:
    if schema.get_field_index(name) >= 0:
        return schema.field(schema.get_field_index(name))
    first, _, rest = name.partition(".")
    index = schema.get_field_index(first)
    if rest and index >= 0 and pa.types.is_struct(schema.field(index).type):
        return _field(schema.field(index).type, rest)
    if rest.isdecimal() and index >= 0 and _is_list(schema.field(index).type):
        return schema.field(index).type.value_field
    return None


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _elements(lists: pa.Array, index: int) -> pa.Array:
    """Return one element of each list; NULL where the list is shorter."""
    if pa.types.is_fixed_size_list(lists.type):
        lists = lists.cast(pa.list_(lists.type.value_type))
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    starts = lists.offsets.to_numpy()[:-1].astype(np.int64)
    return lists.values.take(pa.array(starts + index, mask=lengths <= index))


def _columns(rows: pa.RecordBatch) -> dict[str, pa.Array]:
    """Return columns by name; of two with one name the later one gets its number as a suffix."""
    columns: dict[str, pa.Array] = {}
    for index, name in enumerate(rows.schema.names):
        column = rows.column(index)
        if isinstance(column, pa.ExtensionArray) and column.type != pa.json_():
            column = column.storage
        columns[name if name not in columns else f"{name}:{index}"] = column
    return columns


def _children(struct: pa.StructArray) -> dict[str, pa.Array]:
    """Return a struct's fields; a field of a null struct is null."""
    return dict(zip((field.name for field in struct.type), struct.flatten(), strict=True))


def _struct(fields: dict[str, pa.Array], like: pa.StructArray) -> pa.Array:
    if not fields:
        return pa.nulls(len(like))
    return pa.StructArray.from_arrays(list(fields.values()), names=list(fields), mask=nulls(like))


def _flattened(columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
    """Put the fields of a struct called ``metadata`` next to the other columns, as ``metadata_json`` does."""
    inner = columns.get("metadata")
    if inner is None or not pa.types.is_struct(inner.type):
        return columns
    fields = _children(inner)
    others = {name: column for name, column in columns.items() if name != "metadata"}
    clash = {name: column for name, column in fields.items() if name in others}
    flat = {**fields, **others}
    return {**flat, "metadata": _struct(clash, inner)} if clash else flat


def _url(columns: dict[str, pa.Array], name: str, n: int) -> pa.Array:
    path = name if name in columns or "metadata" not in columns else f"metadata.{name}"
    return _text_column(columns, [path], n)


def _id(columns: dict[str, pa.Array], name: str, n: int) -> pa.Array:
    column = columns.get(name)
    whole = column is not None and (
        pa.types.is_integer(column.type) or (pa.types.is_decimal(column.type) and column.type.scale == 0)
    )
    if whole:
        return columns.pop(name).cast(pa.string())
    return _text_column(columns, [name], n)


def _text_column(columns: dict[str, pa.Array], names: Sequence[str], n: int) -> pa.Array:
    for name in names:
        before = dict(columns)
        column = take_column(columns, name)
        if column is not None and _is_text(column.type):
            return _plain(column, pa.string())
        columns.clear()
        columns.update(before)
    return pa.nulls(n, pa.string())


def _published(columns: dict[str, pa.Array], n: int, notes: Counter[str]) -> pa.Array:
    kind = pa.timestamp("us", "UTC")
    for name in PUBLISHED_FIELDS:
        column = columns.get(name)
        if column is None:
            continue
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            try:
                zoned = column if getattr(column.type, "tz", None) else column.cast(pa.timestamp("us")).cast(kind)
                moments = zoned.cast(kind, safe=False)
            except pa.ArrowInvalid:
                notes[unread_note(name)] += n
                continue
            del columns[name]
            return moments
        if _is_text(column.type) or pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            # The column stays in the metadata: some rows may not hold a time.
            values = (_plain(column, pa.string()) if _is_text(column.type) else column).to_pylist()
            found = [timestamp(value) for value in values]
            read = zip(found, values, strict=True)
            unread = sum(moment is None and value not in (None, "") for moment, value in read)
            if unread:
                notes[unread_note(name)] += unread
            if unread < n:
                return pa.array(found, kind)
    return pa.nulls(n, kind)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return _is_text(kind.storage_type)
    return kind in (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view())


def _plain(column: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    """Return a column without dictionary or large offsets. Casting to string checks that it is UTF-8."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column if column.type == kind else column.cast(kind)
