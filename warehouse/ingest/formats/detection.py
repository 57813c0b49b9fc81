"""Detect a file's format by its content; its name decides only between kinds of text.

    PAR1, ARROW1, ORC, …                   Parquet, Arrow IPC, ORC
    WARC/, filedesc://                     WARC (also WET), ARC, behind blank lines too; and what is named so
    zip, tar                               an archive of files
    first lines are JSON objects           JSONL, whatever the name, however long the first line is
    an array of objects                    JSON records, whatever the name
    named .jsonl, .ndjson or .json         JSON records, also when the first is broken
    named .csv or .tsv                     a table
    named .html, .htm or .xhtml            a web page
    UTF-8 without NUL bytes                a text document
    anything else                          rejected, with a reason

What is compressed is decompressed first, and the suffix for it (.gz, .zst, …) does not count as part of the name.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import orjson

from warehouse.ingest import exact_json
from warehouse.ingest.bytestream import DamagedStreamError, blocks, compression, controls, head, plain_name
from warehouse.ingest.formats.json_values import values
from warehouse.ingest.records import MAX_RECORD

HEAD = 64 << 10

_KNOWN = (
    (b"PAR1", "parquet"), (b"ARROW1\0\0", "arrow"), (b"ORC", "orc"),
    (b"PK\x03\x04", "zip"), (b"PK\x05\x06", "zip"), (b"\xff\xff\xff\xff", "arrow_stream"),
)  # fmt: skip
_ARCHIVES = ((b"WARC/", "warc"), (b"filedesc://", "arc"))
#: Formats that are read at any place of the file: inside gzip they cannot be.
_SEEKING = {"parquet": "Parquet", "arrow": "an Arrow file", "orc": "ORC", "zip": "a zip archive"}
_OFFICE = (".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".epub")  # zip archives of XML
_PAGES = (".html", ".htm", ".xhtml")
_ARCHIVE_NAMES = ((".warc", "warc"), (".wet", "warc"), (".wat", "warc"), (".arc", "arc"))
_FOREIGN = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the file itself: fetch it with git lfs pull"),
    (b"PARE", "encrypted Parquet: decrypt it first"),
    (
        b"Obj\x01",
        "Avro: write it as Parquet first, by DuckDB: install avro; copy (from read_avro('FILE')) to 'FILE.parquet'",
    ),
    (b"FEA1", "Feather version 1: write it as Parquet first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"),
    (b"Rar!\x1a\x07", "a rar archive: unpack it first"),
    (b"\x1f\x9d", "compressed by compress (.Z): decompress it first"),
    (b"\xff\x06\0\0sNaPpY", "compressed by snappy: decompress it first"),
    (b"\x89HDF", "HDF5: write it as Parquet first"),
    (b"\x93NUMPY", "a NumPy array: write it as Parquet first"),
    (b"%PDF", "PDF: extract its text first"),
    (b"\xd0\xcf\x11\xe0", "an old Office document: extract its text first"),
    (b"SQLite format 3\0", "an SQLite database: write its table as Parquet first"),
)
_LINE_NAMES = (".jsonl", ".ndjson")
#: Names of tables.
_TABLES = (".csv", ".tsv", ".tab", ".psv")

#: So many first lines are looked at where the first is not a record.
_LINES = 20


@dataclass(frozen=True, slots=True)
class DetectedFormat:
    """A file's format: jsonl, json, parquet, warc, arc, html, text, empty, …; or unknown, and why."""

    format: str
    reason: str | None = None


def detect(path: Path, *, text_field: str = "text", delimiter: str | None = None) -> DetectedFormat:
    """Detect the format of a file. Raises OSError if it cannot be opened."""
    with path.open("rb") as handle:
        raw = handle.read(8)
    if not raw:
        return DetectedFormat("empty")
    start, damage = head(path, HEAD)
    archive = next((known for suffix, known in _ARCHIVE_NAMES if plain_name(path).endswith(suffix)), None)
    if not start and archive:
        return DetectedFormat(archive)
    if not start:
        return DetectedFormat("unknown", damage.message) if damage else DetectedFormat("empty")
    found = detect_content(start, plain_name(path))
    packed = compression(raw)
    if packed and found.format in _SEEKING:
        return DetectedFormat("unknown", f"{_SEEKING[found.format]} inside {packed}: decompress it first")
    if found.format == "text":
        records = _records(path, start, text_field)
        if records or (delimiter is not None):
            return DetectedFormat(records or "csv")
    return found


def detect_content(start: bytes, name: str) -> DetectedFormat:
    """Detect the format of a file by its first (decompressed) bytes and its name."""
    for magic, known in _KNOWN:
        if start.startswith(magic):
            if known == "zip" and name.endswith(_OFFICE):
                return DetectedFormat("unknown", "an Office document or a book: extract its text first")
            return DetectedFormat(known)
    for magic, known in _ARCHIVES:
        if start.lstrip(b"\r\n").startswith(magic):
            return DetectedFormat(known)
    if _is_tar(start):
        return DetectedFormat("tar")
    for magic, reason in _FOREIGN:
        if start.startswith(magic):
            return DetectedFormat("unknown", reason)
    json = _json(start.removeprefix(b"\xef\xbb\xbf"), name)
    if json:
        return DetectedFormat(json)
    # Its first record may be damaged.
    for suffix, known in _ARCHIVE_NAMES:
        if name.endswith(suffix):
            return DetectedFormat(known)
    if name.endswith(_PAGES):
        return DetectedFormat("html")
    if name.endswith((".parquet", ".parquet.encrypted")):
        return DetectedFormat("unknown", "not a Parquet file: it does not begin with PAR1")
    if name.endswith((".mds", ".mds.zstd")) or (b"\0" in start[:8] and name.startswith("shard.")):
        return DetectedFormat("unknown", "an MDS shard without its index.json: ingest the folder that has one")
    if b"\0" in start:
        if len(start) > 3 and (not any(start[1:64:2]) or not any(start[:64:2])):
            return DetectedFormat("unknown", "UTF-16 text without a byte order mark: convert it to UTF-8")
        return DetectedFormat("unknown", "binary: it holds NUL bytes")
    if 10 * controls(start) > len(start):
        return DetectedFormat("unknown", "binary: more than a tenth of it are control characters")
    return DetectedFormat("csv" if name.endswith(_TABLES) else "text")


def _is_tar(start: bytes) -> bool:
    if len(start) < tarfile.BLOCKSIZE:
        return False
    try:
        tarfile.TarInfo.frombuf(start[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _json(start: bytes, name: str) -> str | None:
    lines = (line for line in start.split(b"\n") if line.strip())  # the last may be cut
    first = next(lines, b"").strip()
    if name.endswith(_LINE_NAMES):
        return "jsonl"
    whole = _is_json(first)
    if not name.endswith(".json"):
        return "jsonl" if (whole and first.startswith(b"{")) or _has_records(start) else None
    if start.lstrip().startswith(b"["):
        return "json"
    second = next(lines, b"").strip()
    # An object printed over several lines never has one that begins with a bracket right after its first.
    return "jsonl" if whole or second.startswith(b"{") or b"\n" not in start.strip() else "json"


def _has_records(start: bytes) -> bool:
    """Tell whether lines that begin like a record are records, although the first is broken."""
    if not start.lstrip().startswith(b"{"):
        return False
    lines = [line.strip() for line in start.split(b"\n")[:-1] if line.strip()][:_LINES]
    return 2 * sum(line.startswith(b"{") and len(line) > 2 and _is_json(line) for line in lines) >= max(len(lines), 2)


def _records(path: Path, start: bytes, text_field: str) -> str | None:
    """Find records in what looks like text: a first line longer than the head, an array, an object over lines."""
    begin = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not begin.startswith((b"{", b"[")):
        return None
    inner = begin[1:].lstrip()
    if begin.startswith(b"[") and not inner.startswith(b"{"):
        return None
    if begin.startswith(b"{") and not inner.startswith(b'"'):
        return None
    if begin.startswith(b"{") and len(start) == HEAD and b"\n" not in begin:
        line = _first_line(path)
        return "jsonl" if len(line) > MAX_RECORD or _is_json(line) else None
    with closing(blocks(path)) as stream:
        found = _first_values(values(stream, MAX_RECORD, HEAD))
        if not isinstance(found[0], dict):
            return None
    if begin.startswith(b"["):
        return "json"
    return "json" if text_field in found[0] or isinstance(found[1], dict) else None


def _first_values(pieces: Iterator[tuple[bytes, int]]) -> tuple[object, object]:
    found: list[object] = []
    try:
        for piece, _ in pieces:
            found.append(_decoded(piece))
            if len(found) == 2 or not isinstance(found[0], dict):
                break
    except DamagedStreamError:
        pass
    return (*found, None, None)[0], (*found, None, None)[1]


def _first_line(path: Path) -> bytes:
    pieces: list[bytes] = []
    size = 0
    with closing(blocks(path)) as stream:
        try:
            for block in stream:
                block = block if pieces else block.removeprefix(b"\xef\xbb\xbf").lstrip()
                cut = block.find(b"\n")
                pieces.append(block if cut < 0 else block[:cut])
                size += len(block)
                if cut >= 0 or size > MAX_RECORD:
                    break
        except DamagedStreamError:
            pass
    return b"".join(pieces)


def _is_json(line: bytes) -> bool:
    return _decoded(line) is not None


def _decoded(line: bytes) -> object:
    """Decode JSON, also with what a record is rejected for, or read exactly for: then it is some object."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if "surrogate" in error.msg or "depth limit" in error.msg:
            return {}
        if not exact_json.is_exact_only(line, error):
            return None
    try:
        return exact_json.loads(line)[0]
    except orjson.JSONDecodeError:
        return None
