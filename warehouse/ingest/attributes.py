"""Read and write Dolma's attribute files: scores of spans of documents, in files next to those of the documents.

    documents/0000.jsonl.gz                {"id": …, "text": …}
    attributes/<name>/0000.jsonl.gz        {"id": …, "attributes": {attribute: [[start, end, value], …]}}

Lines of one name are in the order of the documents' lines; a document without an id has its doc_id. Reading makes rows
of raw.attributes, joined to documents by id. Writing takes any relation with ``doc_id``, for the files that documents
were ingested from.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from udfs.atomic_files import open_atomically
from udfs.errors import CuveeError, UsageError
from warehouse.ingest.bytestream import BlockFile, blocks, compress
from warehouse.ingest.commit import stage_files
from warehouse.ingest.inputs import Input
from warehouse.ingest.known_files import FileStamp, checksum, file_id
from warehouse.ingest.records import IngestOptions, RejectCollector
from warehouse.ingest.unit import FileEntry, reject_rows
from warehouse.lake.connection import reading, relation_of
from warehouse.lake.lake import Lake
from warehouse.lake.parquet import rows_of
from warehouse.lake.quoting import literal, quote

TABLE = "raw.attributes"
LONG = ("attribute", "start_char", "end_char", "value")

_TEXT, _NUMBER = pa.string(), pa.int64()
_SPANS = pa.schema(
    [("position", _NUMBER), ("id", _TEXT), *zip(LONG, (_TEXT, _NUMBER, _NUMBER, pa.float64()), strict=True)]
)

#: Spans that are held in memory at a time.
_PORTION = 1 << 16


@dataclass(frozen=True, slots=True)
class AttributesReport:
    """The result of one file. ``rejected`` records are not well-formed, or their id names no document or several."""

    path: str
    unchanged: bool
    documents: int = 0
    spans: int = 0
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class AttributeFile:
    """An attribute file that was written: its lines, and how many of them have an attribute."""

    path: Path
    lines: int
    filled: int


def read(lake: Lake, inputs: Sequence[Input], options: IngestOptions) -> list[AttributesReport]:
    """Read attribute files into raw.attributes: doc_id, attribute, start_char, end_char, value, file_id.

    A file that was read before is skipped, a changed one replaces its rows. ``options.source`` is the source of the
    ids. Raises CuveeError for a file that cannot be opened.
    """
    return [_read(lake, entry, options) for entry in inputs]


def _read(lake: Lake, entry: Input, options: IngestOptions) -> AttributesReport:
    try:
        stamp, digest = FileStamp.of(entry), checksum(entry)
    except OSError as error:
        raise CuveeError(f"cannot read {entry.place}: {error.strerror}") from error
    key = file_id(entry.place, f"attributes {options.source or ''} {digest}", options)
    with lake.staging() as staging, contextlib.closing(lake.cursor()) as cursor:
        if cursor.execute("select 1 from raw.files where file_id = ?", [key]).fetchall():
            return AttributesReport(entry.place, unchanged=True)
        rejects = RejectCollector(entry.path, options.strict)
        try:
            spans = _stage(entry.path, staging.folder / "spans.parquet", rejects)
        except OSError as error:
            raise CuveeError(f"cannot read {entry.place}: {error}") from error
        _name_documents(cursor, spans, options.source, rejects)
        found = staging.file(TABLE)
        documents, rows = _write_rows(cursor, spans, found, key)
        rejected = [staging.file("raw.rejects")] if rejects.rows else []
        for path in rejected:
            pq.write_table(reject_rows(key, rejects.rows), path, compression="zstd")
        row = FileEntry(
            file_id=key, path=entry.place, bytes=stamp.bytes, checksum=digest, format="attributes",
            source=options.source or entry.source, modified_ns=stamp.modified_ns, rejected=len(rejects.rows),
        )  # fmt: skip
        files = stage_files(staging, [row])
        with lake.commit(f"attributes {entry.path.name}", author="cuvee attributes") as commit:
            commit.sql(
                f"create table if not exists {TABLE} (doc_id varchar not null, attribute varchar not null,"
                " start_char bigint, end_char bigint, value double, file_id varchar not null)"
            )
            commit.sql(
                f"delete from {TABLE} where file_id in"
                " (select file_id from raw.files where path = ? and format = 'attributes')",
                [entry.place],
            )
            commit.add(TABLE, [found])
            commit.add("raw.rejects", rejected)
            commit.add("raw.files", [files])
        return AttributesReport(
            entry.place, unchanged=False, documents=documents, spans=rows, rejected=len(rejects.rows)
        )


def _stage(path: Path, target: Path, rejects: RejectCollector) -> Path:
    """Write the spans of a file as Parquet. A record without any has one row without an attribute."""
    rows: list[tuple[object, ...]] = []
    with contextlib.closing(blocks(path)) as stream, pq.ParquetWriter(target, _SPANS) as writer:
        file = BlockFile(stream)
        for position, line in enumerate(io.BufferedReader(file, 1 << 20), 1):
            if not line.strip():
                continue
            try:
                rows += _spans(orjson.loads(line), position)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                rejects.add(position, f"no attributes of a document: {error}", line)
            if len(rows) >= _PORTION:
                _write(writer, rows)
        if file.damage is not None:
            raise CuveeError(f"cannot read {path}: {file.damage.message}") from file.damage
        _write(writer, rows)
    return target


def _spans(record: Any, position: int) -> Iterator[tuple[object, ...]]:
    """Yield the rows of one record. Raises ValueError, TypeError, KeyError or AttributeError for a malformed one."""
    key = str(record["id"])
    rows: list[tuple[object, ...]] = []
    for attribute, spans in record["attributes"].items():
        for start, end, value in spans:
            if type(start) is not int or type(end) is not int or not isinstance(value, int | float):
                raise ValueError(f"{attribute} has [{start}, {end}, {value}], not whole numbers and a number")
            rows.append((position, key, attribute, start, end, float(value)))
    yield from rows or [(position, key, None, None, None, None)]


def _write(writer: pq.ParquetWriter, rows: list[tuple[object, ...]]) -> None:
    columns = list(zip(*rows, strict=True)) or [()] * len(_SPANS)
    writer.write_table(pa.table([pa.array(c, f.type) for c, f in zip(columns, _SPANS, strict=True)], schema=_SPANS))
    rows.clear()


def _name_documents(
    cursor: duckdb.DuckDBPyConnection, spans: Path, source: str | None, rejects: RejectCollector
) -> None:
    """Fill the table ``named`` with the documents of the spans' ids; reject ids of no document or of several."""
    cursor.execute(
        f"""
        create or replace temp table named as
        select id, count(distinct doc_id) as n, min(doc_id) as doc_id
        from (select distinct id from {rows_of(spans)}) left join (
            select source_id as id, doc_id from raw.occurrences where source = $1 or $1 is null
            union all
            select doc_id, doc_id from raw.documents
        ) using (id) group by id
        """,
        [source],
    )
    for position, name, count in cursor.execute(
        f"select min(position), id, any_value(n) from {rows_of(spans)} join named using (id)"
        " where n <> 1 group by id order by 1"
    ).fetchall():
        rejects.add(position, f"{count or 'no'} documents have this id", name.encode())


def _write_rows(cursor: duckdb.DuckDBPyConnection, spans: Path, target: Path, key: str) -> tuple[int, int]:
    """Write the rows of raw.attributes. Returns the numbers of documents and of rows."""
    cursor.execute(
        f"copy (select doc_id, attribute, start_char, end_char, value, ? as file_id from {rows_of(spans)}"
        " join named using (id) where n = 1 and attribute is not null order by position)"
        f" to {literal(target)} (format parquet, compression zstd)",
        [key],
    )
    (counts,) = cursor.execute(f"select count(distinct doc_id), count(*) from {rows_of(target)}").fetchall()
    return counts


def write(lake: Lake, source: str, name: str, out: Path | None = None) -> list[AttributeFile]:
    """Write attribute files next to the documents' files, one line for each of their records that was ingested.

    ``source`` is a model, or SQL, with ``doc_id`` and either the columns of ``LONG`` or columns of numbers: each is
    an attribute ``<name>__<column>`` of the whole document. Files go where ``documents`` in a path is
    ``attributes/<name>``, or into ``<out>/attributes/<name>``. An existing file is replaced.

    Raises UsageError for a relation that has neither, and where no file of documents is below ``documents``.
    """
    with contextlib.closing(lake.reader()) as reader:
        reader.execute("begin transaction")
        with reading(reader, source, "write attributes of"):
            columns = {row[0]: str(row[1]) for row in reader.execute(f"describe from {relation_of(source)}").fetchall()}
            reader.execute(f"create temp table given as {_given(source, name, columns)}")
        targets = _targets(reader, name, out)
        return [_write_file(reader, key, target) for key, target in targets.items()]


def _given(source: str, name: str, columns: dict[str, str]) -> str:
    """Return a query for doc_id and its attributes as a JSON object."""
    if "doc_id" not in columns:
        raise UsageError(f"{source!r} has no column doc_id", hint=f"it has {', '.join(columns)}")
    if set(LONG) <= columns.keys():
        return f"""
            select doc_id, to_json(map_from_entries(list((attribute, spans) order by attribute))) as attributes from (
                select doc_id, attribute,
                    list(json_array(start_char, end_char, value) order by start_char, end_char, value) as spans
                from {relation_of(source)} where attribute is not null group by doc_id, attribute
            ) group by doc_id
        """
    numbers = ("INTEGER", "BIGINT", "SMALLINT", "TINYINT", "HUGEINT", "DOUBLE", "FLOAT", "DECIMAL", "BOOLEAN", "U")
    scores = [column for column, kind in columns.items() if column != "doc_id" and kind.startswith(numbers)]
    if not scores:
        hint = f"columns of numbers, or {', '.join(LONG)}"
        raise UsageError(f"{source!r} has no attributes: {', '.join(columns)}", hint=hint)
    parts = []
    for column in scores:
        quoted = f"scored.{quote(column)}"
        value = f"{quoted}::int" if columns[column] == "BOOLEAN" else f"{quoted}::double"
        key = literal(f"{name}__{column}")
        spans = f"json_array(json_array(0, document.n_chars, {value}))"
        parts.append(f"{key}, case when {quoted} is null then json_array() else {spans} end")
    return f"""
        select document.doc_id, json_object({", ".join(parts)}) as attributes from {relation_of(source)} as scored
        join raw.documents as document on document.doc_id = scored.doc_id
    """


def _targets(reader: duckdb.DuckDBPyConnection, name: str, out: Path | None) -> dict[str, Path]:
    """Return the file to write for each ingested JSONL file that has documents among those given, by its id."""
    rows = reader.execute(
        "select file_id, path from raw.files where format = 'jsonl' and file_id in"
        " (select file_id from raw.occurrences semi join given using (doc_id)) order by path, ingested_at"
    ).fetchall()
    targets: dict[str, Path] = {}
    for key, path in rows:
        parts = Path(path).parts
        if out is not None:
            targets[key] = out / "attributes" / name / Path(path).name
        elif "documents" in parts[:-1]:
            at = len(parts) - 2 - parts[:-1][::-1].index("documents")
            targets[key] = Path(*parts[:at], "attributes", name, *parts[at + 1 :])
    if not targets:
        raise UsageError(
            "no file below a folder `documents` has these documents", hint="say where to write with --out DIR"
        )
    if len(set(targets.values())) < len(targets):
        raise UsageError(f"several files of documents are called alike: {', '.join(path for _, path in rows)}",
                         hint="without --out each is written next to its own")  # fmt: skip
    return targets


def _write_file(reader: duckdb.DuckDBPyConnection, key: str, target: Path) -> AttributeFile:
    target.parent.mkdir(parents=True, exist_ok=True)
    found = reader.execute(
        "select json_object('id', coalesce(source_id, doc_id), 'attributes', coalesce(attributes, '{}'::json)),"
        " attributes is not null from raw.occurrences left join given using (doc_id)"
        " where file_id = ? order by position",
        [key],
    )
    lines = filled = 0
    with open_atomically(target) as raw, compress(raw, target.suffix) as file:
        while portion := found.fetchmany(10_000):
            file.write("".join(f"{line}\n" for line, _ in portion).encode())
            lines += len(portion)
            filled += sum(has for _, has in portion)
    return AttributeFile(target, lines, filled)
