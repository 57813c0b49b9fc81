"""Detect a file's format by its content; its name decides only between kinds of text.

    PAR1                                   Parquet
    WARC/, filedesc://                     WARC (also WET), ARC
    first line is a JSON object            JSONL, whatever the name
    named .jsonl, .ndjson or .json         JSON records, also when the first is broken
    UTF-8 without NUL bytes                a text document
    anything else                          rejected, with a reason

gzip and Zstandard are decompressed first, and their suffixes (.gz, .zst) do not count as part of the name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson

from warehouse.ingest.bytestream import head

HEAD = 64 << 10

_KNOWN = ((b"PAR1", "parquet"), (b"WARC/", "warc"), (b"filedesc://", "arc"))
_FOREIGN = (
    (b"PARE", "encrypted Parquet: decrypt it first"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"BZh", "bzip2: decompress it, gzip and zstd are read as they are"),
    (b"\xfd7zXZ\0", "xz: decompress it, gzip and zstd are read as they are"),
    (b"\x04\x22\x4d\x18", "lz4: decompress it, gzip and zstd are read as they are"),
    (b"%PDF", "PDF: extract its text first"),
    (b"ARROW1\0\0", "an Arrow file: write it as Parquet"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\xff\xfe", "UTF-16 text: convert it to UTF-8"),
    (b"\xfe\xff", "UTF-16 text: convert it to UTF-8"),
)
_LINE_NAMES = (".jsonl", ".ndjson")
_CONTROL = bytes(code for code in range(32) if code not in b"\t\n\r\f\b\x1b")


@dataclass(frozen=True, slots=True)
class DetectedFormat:
    """A file's format: jsonl, json, parquet, warc, arc, text, empty; or unknown, and why."""

    format: str
    reason: str | None = None


def detect(path: Path) -> DetectedFormat:
    """Detect the format of a file. Raises OSError if it cannot be opened."""
    with path.open("rb") as handle:
        raw = handle.read(8)
    if not raw:
        return DetectedFormat("empty")
    start, damage = head(path, HEAD)
    if not start:
        return DetectedFormat("unknown", damage.message) if damage else DetectedFormat("empty")
    return detect_content(start, plain_name(path))


def plain_name(path: Path) -> str:
    """Return the file's name in lower case, without a compression suffix."""
    return path.name.lower().removesuffix(".gz").removesuffix(".zst")


def detect_content(start: bytes, name: str) -> DetectedFormat:
    """Detect the format of a file by its first (decompressed) bytes and its name."""
    for magic, known in _KNOWN:
        if start.startswith(magic):
            return DetectedFormat(known)
    json = _json(start.removeprefix(b"\xef\xbb\xbf"), name)
    if json:
        return DetectedFormat(json)
    for magic, reason in _FOREIGN:
        if start.startswith(magic):
            return DetectedFormat("unknown", reason)
    if name.endswith((".parquet", ".parquet.encrypted")):
        return DetectedFormat("unknown", "not a Parquet file: it does not begin with PAR1")
    if name.endswith((".mds", ".mds.zstd")) or (b"\0" in start[:8] and name.startswith("shard.")):
        return DetectedFormat("unknown", "an MDS shard without its index.json: ingest the folder that has one")
    if b"\0" in start:
        return DetectedFormat("unknown", "binary: it holds NUL bytes")
    if 10 * len(start.translate(None, bytes(set(range(256)) - set(_CONTROL)))) > len(start):
        return DetectedFormat("unknown", "binary: more than a tenth of it are control characters")
    return DetectedFormat("text")


def _json(start: bytes, name: str) -> str | None:
    lines = (line for line in start.split(b"\n") if line.strip())  # the last may be cut
    first = next(lines, b"").strip()
    if name.endswith(_LINE_NAMES):
        return "jsonl"
    whole = _is_json(first)
    if not name.endswith(".json"):
        return "jsonl" if whole and first.startswith(b"{") else None
    if start.lstrip().startswith(b"["):
        return "json"
    second = next(lines, b"").strip()
    # An object printed over several lines never has one that begins with a bracket right after its first.
    return "jsonl" if whole or second.startswith(b"{") or b"\n" not in start.strip() else "json"


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True
