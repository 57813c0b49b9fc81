"""Read JSON records: one object a line, or the values of a JSON file (see ``json_values``).

A line's number is its position, counted from 1 and including blank lines, which are not records. A byte order mark at
the start of the file and carriage returns at the ends of lines are not part of a record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import orjson

from udfs.prefetch import prefetch
from warehouse.ingest import exact_json
from warehouse.ingest.bytestream import DamagedStreamError, blocks
from warehouse.ingest.formats.giant import GIANT, decode_giant
from warehouse.ingest.formats.json_values import AFTER_END, NOT_CLOSED, values
from warehouse.ingest.record_builder import InexactError, RecordBuilder
from warehouse.ingest.records import MAX_RECORD, RAW_LIMIT, DocumentBatch, IngestOptions, utf8_length

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class OverlongRecord:
    """A record over MAX_RECORD: its beginning and its length."""

    head: bytes
    size: int


#: A record's bytes; mostly a view of its block, since copying them out took a tenth of the time.
Record = bytes | memoryview

Split = Callable[[Iterable[bytes]], Iterator[list[Record] | OverlongRecord]]


def read_jsonl(path: Path, source: str, options: IngestOptions) -> Iterator[DocumentBatch]:
    """Read the documents of a JSONL file."""
    return _batches(RecordBuilder(path, source, options), path, lines)


def read_json(path: Path, source: str, options: IngestOptions) -> Iterator[DocumentBatch]:
    """Read the documents of a JSON file: an array of objects, or objects printed over several lines each."""
    return _batches(RecordBuilder(path, source, options), path, _elements)


def _batches(builder: RecordBuilder, path: Path, split: Split) -> Iterator[DocumentBatch]:
    position = 0
    with closing(prefetch(blocks(path))) as stream:
        try:
            for records in split(stream):
                if isinstance(records, OverlongRecord):
                    position += 1
                    reason = f"record is longer than {MAX_RECORD >> 20} MB"
                    builder.rejects.add(position, reason, records.head, records.size)
                    continue
                records.reverse()
                while records:
                    # Taken out one by one: a record of 200 MB is released before its text is written.
                    raw = records.pop()
                    position += 1
                    if len(raw) > GIANT:
                        yield builder.take()
                    add_json(builder, raw, position)
                    del raw
                    if not len(records) % 256 and builder.full:
                        yield builder.take()
        except DamagedStreamError as error:
            builder.rejects.add(position + 1, error.message, error.unfinished)
    yield builder.take()


def lines(stream: Iterable[bytes]) -> Iterator[list[Record] | OverlongRecord]:
    """Yield the lines of a stream, block by block. The last one needs no line feed."""
    carry: list[bytes] = []
    size = 0
    first = True
    damage: DamagedStreamError | None = None
    iterator = iter(stream)
    while True:
        try:
            block = next(iterator, None)
        except DamagedStreamError as error:
            block, damage = None, error
        if block is None:
            break
        if first and block:
            block, first = block.removeprefix(BOM), False
        cut = block.find(b"\n")
        if cut < 0:
            size += len(block)
            if size <= MAX_RECORD:
                carry.append(block)
            else:
                carry = [b"".join(carry)[:RAW_LIMIT] or block[:RAW_LIMIT]]
            continue
        if carry:
            size += cut
            whole: list[Record] = [b"".join((*carry, block[:cut]))] if size <= MAX_RECORD else [carry[0][:RAW_LIMIT]]
            carry = []
            yield whole if size <= MAX_RECORD else OverlongRecord(bytes(whole[0]), size)
            start = cut + 1
        else:
            start = 0
        last = block.rfind(b"\n") + 1
        if last > start:
            yield _views(block, start, last)
        carry = [block[last:]] if last < len(block) else []
        size = len(block) - last
    if damage:
        damage.unfinished = b"".join(carry)[:RAW_LIMIT]
        raise damage
    if size > MAX_RECORD:
        yield OverlongRecord(carry[0][:RAW_LIMIT], size)
    elif carry:
        whole = [b"".join(carry)]
        carry = []
        yield whole


def _views(block: bytes, start: int, last: int) -> list[Record]:
    """Return the lines of ``block[start:last]``, which ends with a line feed."""
    view, find = memoryview(block), block.find
    found: list[Record] = []
    while start < last:
        end = find(b"\n", start)
        found.append(view[start:end])
        start = end + 1
    return found


def _elements(stream: Iterable[bytes]) -> Iterator[list[Record] | OverlongRecord]:
    for value, size in values(stream, MAX_RECORD, RAW_LIMIT):
        yield OverlongRecord(value, size) if size > MAX_RECORD else [value]


def add_json(builder: RecordBuilder, raw: Record, position: int) -> None:
    """Decode one record and add its document, or reject it. Never raises for any bytes, save under --strict."""
    if len(raw) > GIANT:
        return _add_giant(builder, raw, position)
    try:
        return builder.add(orjson.loads(raw), position, raw)
    except orjson.JSONDecodeError as error:
        raw = bytes(raw)
        if not raw.strip(b" \t\r\n"):
            return None
        if not exact_json.is_exact_only(raw, error):
            return builder.rejects.add(position, explain(raw, error), raw)
    except InexactError:
        pass
    return _add_exactly(builder, raw, position)


def _add_exactly(builder: RecordBuilder, raw: Record, position: int) -> None:
    """Add a record with numbers that orjson alters or refuses."""
    try:
        record, constants = exact_json.loads(raw)
        if constants and type(record) is not dict:
            orjson.loads(raw)  # raises: only next to a text are these constants taken
    except orjson.JSONDecodeError as error:
        return builder.rejects.add(position, explain(bytes(raw), error), raw)
    if constants:
        builder.notes[exact_json.BECAME_NULL] += 1
    with builder.exactly():
        return builder.add(record, position, raw)


def _add_giant(builder: RecordBuilder, raw: Record, position: int) -> None:
    """Add a record of many megabytes without a Python string of it (up to 4 bytes a character)."""
    try:
        record, text, constants = decode_giant(raw, builder.options.text_field)
    except orjson.JSONDecodeError as error:
        return builder.rejects.add(position, explain(bytes(raw), error), raw)
    if constants:
        builder.notes[exact_json.BECAME_NULL] += 1
    with builder.exactly():
        if text is None:
            return builder.add(record, position, raw)
        assert isinstance(record, dict)
        return builder.add_text(text, utf8_length(text), position, record=record, raw=raw[:RAW_LIMIT])


def explain(raw: bytes, error: orjson.JSONDecodeError) -> str:
    """Say why bytes are not a record."""
    if raw.startswith(NOT_CLOSED):
        return "bad JSON: the array is not closed"
    if raw.startswith(AFTER_END):
        return "bad JSON: content after the end of the array"
    try:
        utf8_length(raw)
    except UnicodeDecodeError as fault:
        return f"not UTF-8: byte 0x{raw[fault.start]:02x} at offset {fault.start:,}"
    if "depth limit" in error.msg:
        return "bad JSON: nested in more than 1,024 levels"
    if "surrogate" in error.msg:
        return "bad JSON: a lone surrogate has no form in UTF-8"
    return f"bad JSON: {error.msg}"
