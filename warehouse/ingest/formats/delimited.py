"""Read CSV and TSV by DuckDB's reader, with nothing left to its sniffer: every column is text, the quote is ``"``.

The first line names the columns. A row's position is its line, where a row of several lines counts as one and the
header is the first. DuckDB says nothing of a quote that is never closed: a last row of ours shows that all was read.
"""

from __future__ import annotations

import csv
import itertools
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from udfs.errors import first_line
from warehouse.ingest.bytestream import DamagedStreamError, blocks, head, plain_name
from warehouse.ingest.formats.columnar import ColumnarDocuments, NoTextColumnError
from warehouse.ingest.records import MAX_RECORD, RAW_LIMIT, DocumentBatch, IngestOptions, RejectCollector
from warehouse.lake.quoting import literal

#: The delimiters that a name says, and what may be one.
ENDINGS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".psv": "|"}
_DELIMITERS = ",\t;|"

#: A header has at most this many bytes.
_HEADER = 1 << 20

#: DuckDB's own number of rows at a time.
_ROWS = 2048


@dataclass(frozen=True, slots=True)
class _Table:
    """A plain copy of a file: the names of its columns, its delimiter, and the value of the row that was added."""

    copy: Path
    names: list[str]
    delimiter: str
    last: str

    @property
    def scan(self) -> str:
        """The call that reads it."""
        columns = ", ".join(f"'c{index}': 'VARCHAR'" for index in range(len(self.names)))
        return (
            f"read_csv({literal(self.copy)}, auto_detect = false, header = true, columns = {{{columns}}},"
            f" delim = {literal(self.delimiter)}, quote = '\"', escape = '\"', parallel = false,"
            f" ignore_errors = true, max_line_size = {MAX_RECORD}, buffer_size = {2 * MAX_RECORD}"
        )


def read_delimited(path: Path, source: str, options: IngestOptions) -> Iterator[DocumentBatch]:
    """Read the documents of a CSV or TSV file."""
    rejects = RejectCollector(path, options.strict)
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        try:
            table, damage = _copied(path, options, Path(scratch) / "table.csv")
            documents = ColumnarDocuments(
                path, source, options, pa.schema([(name, pa.string()) for name in table.names])
            )
            yield from _read(table, documents, rejects)
            if damage is not None:
                rejects.add(0, damage.message)
        except (NoTextColumnError, csv.Error) as error:
            rejects.add(0, str(error))
        except duckdb.Error as error:
            rejects.add(0, f"unreadable CSV: {first_line(error)}")
    yield rejects.batch()


def delimiter_of(path: Path, header: str) -> str:
    """Return the delimiter of a file: the one that the header has most of, in doubt that of the name's ending."""
    usual = ENDINGS.get(Path(plain_name(path)).suffix, ",")
    unquoted = "".join(header.split('"')[::2])
    return max(usual + _DELIMITERS, key=unquoted.count)


def _copied(path: Path, options: IngestOptions, copy: Path) -> tuple[_Table, DamagedStreamError | None]:
    """Write a file decompressed, in UTF-8, with a last row of ours. Raises csv.Error without a header."""
    start, damage = head(path, _HEADER)
    lines = start.decode("utf-8-sig", "replace").splitlines(keepends=True)
    delimiter = options.delimiter or delimiter_of(path, next((line for line in lines if line.strip()), ""))
    names = next((row for row in csv.reader(lines, delimiter=delimiter) if row), [])
    if not names:
        raise csv.Error("the first line does not name the columns")
    names = [name or f"column{index}" for index, name in enumerate(names)]
    ending, last = _ending(start), uuid.uuid4().hex
    with closing(blocks(path)) as stream, copy.open("wb") as file:
        block = b""
        try:
            for number, block in enumerate(stream):
                file.write(block if number else block.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n"))
        except DamagedStreamError as error:
            damage = error
        if not block.endswith((b"\n", b"\r")):
            file.write(ending)
        file.write(delimiter.join([last] * len(names)).encode() + ending)
    return _Table(copy, names, delimiter, last), damage


def _ending(start: bytes) -> bytes:
    """Return what ends the lines of a file."""
    line = start.split(b"\n")[0]
    if b"\n" not in start:
        return b"\r" if b"\r" in start.strip() else b"\n"
    return b"\r\n" if line.endswith(b"\r") else b"\n"


def _read(table: _Table, documents: ColumnarDocuments, rejects: RejectCollector) -> Iterator[DocumentBatch]:
    with closing(duckdb.connect()) as database:
        database.execute("set threads = 1; set memory_limit = '2GB'; set preserve_insertion_order = true")
        try:
            rejected = _rejected(database, table)
        except duckdb.Error:
            # DuckDB refuses a file whose lines end in several ways.
            _unify_endings(table.copy)
            rejected = _rejected(database, table)
        for line, reason, raw in rejected:
            rejects.add(line, reason, raw)
        # Yielded before any document: under --strict nothing of the file is to be given.
        yield rejects.batch()
        skipped = np.array([line for line, _, _ in rejected], np.int64)
        rows = database.execute(f"select * from {table.scan})").fetch_record_batch(_ROWS)
        done, whole = 0, False
        for part in rows:
            # Row n is at line n + 1, and further by the lines before it that were left out.
            lines = np.arange(done + 2, done + 2 + part.num_rows, dtype=np.int64)
            lines = _shifted(lines, skipped)
            done += part.num_rows
            if part.num_rows and part.column(0)[-1].as_py() == table.last:
                whole, part, lines = True, part.slice(0, part.num_rows - 1), lines[:-1]
            if part.num_rows:
                named = pa.RecordBatch.from_arrays(part.columns, names=table.names)
                for first, last in _runs(lines):
                    yield from documents.batches(named.slice(first, last - first), int(lines[first]))
    if not whole:
        line = int(_shifted(np.array([done + 2]), skipped)[0])
        rejects.add(line, "a quote is opened in this row or after it and never closed: nothing more could be read")


def _rejected(database: duckdb.DuckDBPyConnection, table: _Table) -> list[tuple[int, str, bytes | None]]:
    """Return the lines that DuckDB cannot read as rows, in order."""
    scan = f"{table.scan}, store_rejects = true, rejects_limit = 0)"
    database.execute("drop table if exists temp.reject_errors; drop table if exists temp.reject_scans")
    database.execute(f"select count(*) from (select * from {scan}) where c0 <> {literal(table.last)}").fetchall()
    found = database.execute(
        "select line, first(lower(error_type::varchar)), first(csv_line) from temp.reject_errors"
        " group by line order by line"
    ).fetchall()
    return [(line, f"no row of the table: {kind}", _raw(raw)) for line, kind, raw in found]


def _raw(line: str | None) -> bytes | None:
    return None if line is None else line.encode("utf-8", "replace")[:RAW_LIMIT]


def _shifted(rows: NDArray[Any], skipped: NDArray[Any]) -> NDArray[Any]:
    """Move the numbers of rows behind the lines that were left out."""
    if not len(skipped):
        return rows
    return rows + np.searchsorted(skipped - np.arange(len(skipped)), rows, side="right")


def _runs(lines: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Yield the ranges in which line follows line."""
    cuts = np.flatnonzero(np.diff(lines) != 1) + 1
    bounds = [0, *cuts.tolist(), len(lines)]
    yield from itertools.pairwise(bounds)


def _unify_endings(copy: Path) -> None:
    """End all lines by a line feed; what is quoted stays as it is."""
    unified = copy.with_suffix(".unified")
    with copy.open("rb") as read, unified.open("wb") as write:
        quoted, rest = False, b""
        while piece := read.read(8 << 20):
            piece = rest + piece
            rest = b"\r" if piece.endswith(b"\r") else b""
            parts = piece[: len(piece) - len(rest)].split(b'"')
            for index, part in enumerate(parts):
                inside = quoted != bool(index % 2)
                parts[index] = part if inside else part.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            quoted = quoted != bool((len(parts) - 1) % 2)
            write.write(b'"'.join(parts))
        write.write(rest if quoted else b"\n" if rest else b"")
    unified.replace(copy)
