"""Cut an archive into its records; whatever is damaged, everything behind it is found.

A WARC record is a version line, header lines, a blank line, then as many bytes as its Content-Length says. An ARC
record is a header line, then as many bytes as that says:

    http://example.com/ 93.184.216.119 20140216050221 text/html 1591

A length is believed if the file or another record begins where it ends. Otherwise the next record is the next line that
begins as one does, or the next member of a compressed file. What was passed over so is one ``Damage``, and has a number
of its own, as a record has.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Protocol

from udfs.prefetch import prefetch
from warehouse.ingest.web.members import Event, Gap, MemberBytes, is_plain, read_members

#: A longer page is rejected: its parsed tree takes 10 to 20 times its size. Common Crawl cuts pages at 1 or 5 MB.
MAX_PAGE = 16 << 20

#: The longest header of a record, and the longest line by which a record is told.
_HEADER_LIMIT = 1 << 20
_LINE_LIMIT = 64 << 10

#: This much is kept of a record that is longer than MAX_PAGE, and of what is damaged.
_KEPT = 128 << 10


@dataclass(frozen=True, slots=True)
class ArchiveRecord:
    """A record. ``headers`` have names in lower case. ``block`` is its content, of a long one the beginning only."""

    position: int
    headers: dict[str, str]
    block: bytes
    length: int


@dataclass(frozen=True, slots=True)
class Damage:
    """A place that holds no readable record."""

    position: int
    reason: str
    raw: bytes


_NEWLINES = re.compile(rb"[\r\n]+")


class Syntax(Protocol):
    """What tells the records of a format: the line that begins one, and how a header is read.

    ``anywhere`` finds that line behind damage, which may have taken the newline before it. ``newlines`` end a record.
    """

    start: re.Pattern[bytes]
    anywhere: re.Pattern[bytes]
    newlines: int

    def header(self, data: bytearray, limit: int) -> int | None:
        """Return the length of the header at the beginning of ``data``; None if more bytes are needed."""

    def fields(self, header: bytes) -> dict[str, str]:
        """Read a header; the length of the content is ``content-length``."""


class Warc:
    """The syntax of WARC: a version line, header lines, a blank line."""

    start = re.compile(rb"^WARC/[01]\.\d+[ \t]*\r?$", re.MULTILINE)
    anywhere = re.compile(rb"^WARC/[01]\.\d+[ \t]*\r?$|WARC/[01]\.\d+[ \t]*\r?\n(?=[A-Za-z-]+:)", re.MULTILINE)
    newlines = 2
    _end = re.compile(rb"\r?\n\r?\n")

    def header(self, data: bytearray, limit: int) -> int | None:
        """Return the length of the header. One without an end is cut where the next record begins."""
        end = self._end.search(data, 0, limit)
        again = self.start.search(data, 5, end.start() if end else limit)
        if again:
            return again.start()
        return end.end() if end else None

    def fields(self, header: bytes) -> dict[str, str]:
        """Read the header lines; a line that begins with a blank continues the one before.

        Of what says which record it is there must be one: otherwise two headers have become one.
        """
        found: dict[str, str] = {}
        text = re.sub(rb"\r?\n[ \t]+", b" ", header).decode("utf-8", "replace")
        for line in text.split("\n")[1:]:
            name, colon, value = line.partition(":")
            name = name.strip().lower()
            if colon and name in found and name in ("warc-type", "warc-record-id", "content-length"):
                return {"content-length": f"behind a second {name}"}
            if colon:
                found.setdefault(name, value.strip())
        return found


class Arc:
    """The syntax of ARC: a line of URL, address, date, content type, length. URLs may hold blanks."""

    start = re.compile(
        rb"^(?P<url>[A-Za-z][A-Za-z0-9+.-]*:[^\r\n]*?) (?P<ip>[^ \r\n]+) (?P<date>\d{8,17})"
        rb"(?: (?P<type>[^\r\n]*?))? (?P<length>\d{1,15})[ \t]*\r?$",
        re.MULTILINE,
    )
    anywhere = re.compile(
        rb"(?:^(?:https?|ftp|dns|filedesc):[^\r\n]*?|(?:https?|ftp|dns|filedesc):[^ \r\n]+)"
        rb" [^ \r\n]+ \d{8,17}(?: [^\r\n]*?)? \d{1,15}[ \t]*\r?$",
        re.MULTILINE,
    )
    newlines = 1

    def header(self, data: bytearray, limit: int) -> int | None:
        """Return the length of the header line."""
        return data.find(b"\n", 0, limit) + 1 or None

    def fields(self, header: bytes) -> dict[str, str]:
        """Read the header line under the names that WARC has."""
        found = self.start.match(header)
        if found is None:
            return {}
        url, date, kind, length = (
            (found[name] or b"").decode("utf-8", "replace") for name in ("url", "date", "type", "length")
        )
        return {"warc-target-uri": url, "warc-date": date, "content-type": kind, "content-length": length}


def read_records(path: Path, syntax: Syntax) -> Iterator[ArchiveRecord | Damage]:
    """Yield an archive's records and damages, in order. Raises OSError."""
    with closing(_Stream(path, syntax)) as stream:
        position = 0
        while stream.skip_newlines():
            position += 1
            yield _next(stream, syntax, position)


def _next(stream: _Stream, syntax: Syntax, position: int) -> ArchiveRecord | Damage:
    stream.anchor()
    if not stream.fill(1):
        return stream.cross(position, b"")
    if not stream.at_start():
        return stream.lost(position, "no record begins here", 0)
    size = _header_size(stream, syntax)
    if size is None:
        return stream.lost(position, "the record's header does not end", 1)
    header = bytes(stream.data[:size])
    fields = syntax.fields(header)
    stated = fields.get("content-length", "")
    if not (stated.isascii() and stated.isdigit() and len(stated) < 16):
        return stream.lost(position, f"damaged header: Content-Length is {stated[:40]!r}" if stated else
                           "damaged header: no Content-Length", size)  # fmt: skip
    length = int(stated)
    if length > MAX_PAGE:
        return _long(stream, position, fields, size, length)
    if not stream.fill(size + length) or stream.begins_within(1, size + length):
        return _short(stream, position, size, length)
    if not stream.ends_well(size, length):
        return stream.lost(position, f"Content-Length {length:,} is wrong", size)
    block = bytes(memoryview(stream.data)[size : size + length])
    if stream.damaged_member(size + length):
        return stream.cross(position, header + block)
    stream.drop(size + length)
    return ArchiveRecord(position, fields, block, length)


def _header_size(stream: _Stream, syntax: Syntax) -> int | None:
    wanted = 4 << 10
    while True:
        more = stream.fill(wanted)
        size = syntax.header(stream.data, min(len(stream.data), _HEADER_LIMIT))
        if size is not None or not more or wanted >= _HEADER_LIMIT:
            return size
        wanted *= 4


def _short(stream: _Stream, position: int, size: int, length: int) -> Damage:
    """Tell of a record that ends before its length: its member is damaged, its length wrong, or the file cut."""
    have = len(stream.data)
    if stream.next_in(size) is None:
        if stream.gap is not None:
            return stream.cross(position, bytes(stream.data[:_KEPT]))
        reason = f"record is cut off: {length - (have - size):,} of {length:,} bytes lack"
        return stream.lost(position, reason, have)
    return stream.lost(position, f"Content-Length {length:,} is wrong", size)


def _long(stream: _Stream, position: int, fields: dict[str, str], size: int, length: int) -> ArchiveRecord | Damage:
    """Pass over the content of a long record. If its length was wrong, go back and look for the next record."""
    stream.fill(size + _KEPT)
    kept = bytes(stream.data[: size + _KEPT])
    behind = stream.offset + size
    missing = stream.skip(size + length)
    if missing == 0 and stream.ends_well(0, 0):
        return ArchiveRecord(position, fields, kept[size:], length)
    stream.rewind(behind)
    stream.to_next(0)
    if missing and not stream.fill(1):
        if stream.gap is not None:
            return stream.cross(position, kept)
        return Damage(position, f"record is cut off: {missing:,} of {length:,} bytes lack{stream.where()}", kept)
    return Damage(position, f"Content-Length {length:,} is wrong{stream.where()}", kept)


class _Stream:
    """The bytes of an archive that are not read yet: ``data``, the first of which is at ``offset``."""

    def __init__(self, path: Path, syntax: Syntax) -> None:
        self._path, self._syntax = path, syntax
        self._plain = is_plain(path)
        self.data = bytearray()
        self.offset = 0
        self.gap: Gap | None = None
        self._ended = False
        self._waiting: deque[Event] = deque()
        self._members: deque[tuple[int, int]] = deque()  # where members begin: in the stream, in the file
        self._anchor = (0, 0)
        self._start = 0
        self._open(0)

    def _open(self, place: int) -> None:
        self._events = prefetch(read_members(self._path, self._is_start, place))

    def close(self) -> None:
        """Stop reading."""
        self._events.close()

    def _is_start(self, data: bytes) -> bool:
        return self._syntax.start.match(data.lstrip(b"\r\n")[:_LINE_LIMIT]) is not None

    def fill(self, size: int) -> bool:
        """Read until there are ``size`` bytes. False if the file ends, or has a gap, before."""
        while len(self.data) < size:
            if self.gap is not None or self._ended:
                return False
            if not self._waiting:
                batch = next(self._events, None)
                if batch is None:
                    self._ended = True
                    return False
                self._waiting.extend(batch)
            event = self._waiting.popleft()
            if isinstance(event, Gap):
                self.gap = event
                return False
            self._take(event)
        return True

    def _take(self, piece: MemberBytes) -> None:
        if piece.member is not None:
            self._members.append((self.offset + len(self.data), piece.member))
        self.data += piece.data

    def drop(self, size: int) -> None:
        """Take bytes away."""
        del self.data[:size]
        self.offset += size
        while len(self._members) > 1 and self._members[1][0] <= self.offset:
            self._members.popleft()

    def skip_newlines(self) -> bool:
        """Go to what is not a newline, or to a gap; False at the end of the file."""
        while self.fill(1):
            if self.data[0] not in b"\r\n":
                return True
            blank = _NEWLINES.match(self.data)
            self.drop(blank.end() if blank else 0)
        return self.gap is not None

    def anchor(self) -> None:
        """Note where a record begins, to go back to."""
        self._start = self.offset
        if self._members and self._members[0][0] <= self.offset:
            self._anchor = self._members[0]

    def where(self) -> str:
        """Name the place where the record begins."""
        stream, file = self._anchor
        if self._plain:
            return f" at offset {self._start:,}"
        inside = self._start - stream
        return f" at offset {file:,}" + (f", byte {inside:,} of that member" if inside else "")

    def at_start(self) -> bool:
        """Tell whether a record begins here."""
        return self._starts(0)

    def _starts(self, at: int) -> bool:
        self.fill(at + 256)
        if b"\n" not in self.data[at : at + 256]:
            self.fill(at + _LINE_LIMIT)
        return self._syntax.start.match(self.data[at : at + _LINE_LIMIT]) is not None

    def begins_within(self, start: int, end: int) -> bool:
        """Tell whether a member that begins as a record does begins between two places."""
        inside = takewhile(lambda at: at < end, (stream - self.offset for stream, _ in self._members))
        return any(at >= start and self._starts(at) for at in list(inside))

    def next_in(self, start: int) -> int | None:
        """Find the next record in the bytes that are there: a line, or a member, that begins as one does."""
        found = self._syntax.anywhere.search(self.data, start)
        places = [found.start()] if found else []
        places += [at for stream, _ in self._members if (at := stream - self.offset) >= max(start, 1)][:1]
        return min((at for at in places if self._starts(at)), default=None)

    def ends_well(self, start: int, length: int) -> bool:
        """Tell whether a record whose content begins at ``start`` may have this length.

        The file's end or another record comes next; or blank lines, if no record begins inside.
        """
        at = end = start + length
        while self.fill(end + 1) and self.data[end] in b"\r\n":
            end += 1
            if end - at > _LINE_LIMIT:
                return True
        if len(self.data) <= end or self._starts(end):
            return True
        if bytes(self.data[at:end]).count(b"\n") < self._syntax.newlines:
            return False
        return self._syntax.anywhere.search(self.data, start, at) is None

    def damaged_member(self, at: int) -> bool:
        """Tell whether the record that ends here is the first of a member that is damaged further on."""
        rest = self.data[at:].strip(b"\r\n") if len(self.data) - at < _LINE_LIMIT else b"more"
        return self.gap is not None and not rest and self._anchor == (self._start, self.gap.offset)

    def to_next(self, start: int) -> bytes:
        """Go to the next record behind ``start``, or to a gap or the end; return the beginning of what was passed."""
        raw = b""
        while True:
            more = self.fill(start + _LINE_LIMIT + (1 << 20))
            done = self.next_in(start)
            found = done is not None or not more
            if done is None:
                # A line that is cut here is looked at again; one begins behind a newline only.
                safe = len(self.data) - _LINE_LIMIT
                done = max(self.data.rfind(b"\n", start, safe), safe - 1) if more else len(self.data)
            raw += self.data[: min(done, _KEPT - len(raw))]
            self.drop(done)
            if found:
                return raw
            start = 1

    def lost(self, position: int, reason: str, size: int) -> Damage:
        """Go to the next record behind the first ``size`` bytes; tell of what is lost."""
        where = self.where()
        raw = self.to_next(size)
        if not self.data and self.gap is not None and self.gap.offset == self._anchor[1]:
            return self.cross(position, raw)
        return Damage(position, reason + where, raw)

    def cross(self, position: int, raw: bytes) -> Damage:
        """Go behind a gap; what is left before it belongs to it."""
        gap = self.gap
        assert gap is not None
        self.drop(len(self.data))
        self.gap = None
        self._members.clear()
        return Damage(position, f"{gap.reason} at offset {gap.offset:,}", raw or gap.raw)

    def skip(self, size: int) -> int:
        """Take away bytes that may be more than memory holds. Return how many of them lack."""
        while size:
            self.fill(1)
            step = min(size, len(self.data))
            first = next((s - self.offset for s, _ in self._members if 0 < s - self.offset < step), None)
            if first is not None and self._starts(first):
                self.drop(first)
                return size - first
            if not step:
                return size
            self.drop(step)
            size -= step
        return 0

    def rewind(self, offset: int) -> None:
        """Go back to a place in the stream, not before the anchor."""
        self._events.close()
        stream, file = self._anchor
        self.data, self.gap, self._ended = bytearray(), None, False
        self._waiting.clear()
        self._members.clear()
        self.offset = offset if self._plain else stream
        self._open(offset if self._plain else file)
        self.skip(offset - self.offset)
