"""Yield the decompressed bytes of an archive, and the places of the file that cannot be decompressed.

Archives are compressed record by record: each is a gzip member (or a Zstandard frame) of its own. So a damaged member
ends nothing. The next one is found by its first bytes, if what they give begins as a record does. In other ways (bzip2,
xz, LZ4) they are compressed as a whole.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard
from isal import isal_zlib

from warehouse.ingest.bytestream import GZIP, ZSTD, DamagedStreamError, blocks, compression

#: Bytes per read. Larger pieces cost more: a decoder copies what follows its member.
_CHUNK = 128 << 10

#: Output per call of a decoder.
_BLOCK = 1 << 20

#: Pieces are handed on together until they have this size: a queue's turn takes as long as a small member.
_BATCH = 1 << 20

#: This much of what cannot be read is kept.
_KEPT = 64 << 10

#: Zeros at the end are padding, up to so many: tapes have blocks. Elsewhere a download lacks.
_PADDING = 64 << 10

#: Zstandard's own default window, as in ``bytestream``.
_WINDOW = 128 << 20

_ERRORS: tuple[type[Exception], ...] = (cast("type[Exception]", isal_zlib.IsalError), zlib.error, zstandard.ZstdError)


@dataclass(frozen=True, slots=True)
class MemberBytes:
    """Decompressed bytes. ``member`` is the place in the file of the member that begins with them, if one does."""

    data: bytes
    member: int | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """A place in the file that cannot be decompressed, from ``offset`` on; ``raw`` is its beginning."""

    offset: int
    reason: str
    raw: bytes


Event = MemberBytes | Gap


def read_members(path: Path, is_start: Callable[[bytes], bool], offset: int = 0) -> Generator[list[Event], None, None]:
    """Yield an archive's bytes and gaps in order, from the member at ``offset`` on.

    ``is_start`` tells whether decompressed bytes begin as a record does. Raises OSError.
    """
    kind = _packing(path)
    with path.open("rb", buffering=0) as handle:
        handle.seek(offset)
        if kind is None:
            events = _plain(handle, offset)
        elif kind in ("gzip", "zstd"):
            events = _Members(handle, kind, is_start).events(offset)
        else:
            events = _one_stream(path)
        batch: list[Event] = []
        size = 0
        for event in events:
            batch.append(event)
            size += len(event.data) if isinstance(event, MemberBytes) else 0
            if size >= _BATCH or isinstance(event, Gap):
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


def is_plain(path: Path) -> bool:
    """Tell whether the file's bytes are the archive's: then places in it can be sought."""
    return _packing(path) is None


def _packing(path: Path) -> str | None:
    """Return how an archive is compressed: by its first bytes, and by its name where these are damaged."""
    with path.open("rb") as handle:
        return compression(handle.read(8)) or {".gz": "gzip", ".zst": "zstd"}.get(path.suffix.lower())


def _plain(handle: BinaryIO, offset: int) -> Iterator[Event]:
    first: int | None = offset
    while data := handle.read(_BLOCK):
        yield MemberBytes(data, first)
        first = None


def _one_stream(path: Path) -> Iterator[Event]:
    """Yield an archive that is compressed as a whole: nothing behind a damage can be read."""
    first: int | None = 0
    try:
        for data in blocks(path):
            yield MemberBytes(data, first)
            first = None
    except DamagedStreamError as error:
        yield Gap(path.stat().st_size, error.message, b"")


class _DamageError(Exception):
    pass


class _Members:
    def __init__(self, handle: BinaryIO, kind: str, is_start: Callable[[bytes], bool]) -> None:
        self._handle, self._kind, self._is_start = handle, kind, is_start
        self._magic = GZIP + b"\x08" if kind == "gzip" else ZSTD
        self._chunk = b""
        self._offset = 0  # of the chunk

    def events(self, offset: int) -> Iterator[Event]:
        self._offset = offset
        while True:
            before = self._offset
            more = self._next()
            zeros = self._offset - before
            if zeros and (more or zeros > _PADDING or self._offset % 512):
                yield Gap(before, f"{zeros:,} zeros instead of a {self._kind} member", b"")
            if not more:
                return
            start, given = self._offset, 0
            try:
                for data in self._one():
                    yield MemberBytes(data, None if given else start)
                    given += len(data)
            except _DamageError as error:
                for data in self._salvaged(start, given):
                    yield MemberBytes(data, None if given else start)
                    given += len(data)
                found = self._find(start + 1)
                yield Gap(start, str(error), self._at(start, _KEPT)[: None if found is None else found - start])
                if found is None:
                    return
                self._handle.seek(found)
                self._chunk, self._offset = b"", found

    def _next(self) -> bool:
        """Go to the next member, over zeros; False at the end of the file."""
        while True:
            stripped = self._chunk.lstrip(b"\0") if self._kind == "gzip" else self._chunk
            self._advance(len(self._chunk) - len(stripped))
            if self._chunk:
                return True
            self._chunk = self._handle.read(_CHUNK)
            if not self._chunk:
                return False

    def _advance(self, size: int) -> None:
        self._chunk = self._chunk[size:]
        self._offset += size

    def _one(self) -> Iterator[bytes]:
        """Decompress one member. Raises _DamageError."""
        decoder = self._decoder()
        while True:
            try:
                data = decoder.decompress(self._chunk, _BLOCK) if self._kind == "gzip" else self._unzstd(decoder)
            except _ERRORS as error:
                raise _DamageError(f"{self._kind} member is corrupt: {error}") from error
            rest = decoder.unused_data if decoder.eof else getattr(decoder, "unconsumed_tail", b"")
            self._advance(len(self._chunk) - len(rest))
            if data:
                yield data
            if decoder.eof:
                return
            if not self._chunk:
                self._chunk = self._handle.read(_CHUNK)
                if not self._chunk and not (self._kind == "gzip" and data):
                    raise _DamageError(f"{self._kind} member is cut off")

    def _unzstd(self, decoder: Any) -> bytes:
        # 8 kB bound what a decompression bomb gives at once, as in ``bytestream``.
        if len(self._chunk) > 8 << 10:
            self._handle.seek(self._offset + (8 << 10))
            self._chunk = self._chunk[: 8 << 10]
        data: bytes = decoder.decompress(self._chunk)
        return data

    def _decoder(self) -> Any:
        if self._kind == "gzip":
            return isal_zlib.decompressobj(31)
        return zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()

    def _salvaged(self, start: int, given: int) -> Iterator[bytes]:
        """Yield what a damaged member gives after its first ``given`` bytes: ISA-L loses the output of a failed call.

        Small steps lose less; zlib tells of the damage where it is.
        """
        if self._kind != "gzip":
            return
        decoder, done, place = zlib.decompressobj(31), 0, start
        try:
            while not decoder.eof and (chunk := self._at(place, _CHUNK)):
                place += len(chunk)
                while chunk and not decoder.eof:
                    data = decoder.decompress(chunk, _BLOCK if done + _BLOCK <= given else 256)
                    chunk = decoder.unconsumed_tail
                    done += len(data)
                    if done > given:
                        yield data[max(0, len(data) - (done - given)) :]
        except zlib.error:
            return

    def _find(self, offset: int) -> int | None:
        """Find the next member from ``offset`` on that gives the beginning of a record."""
        while chunk := self._at(offset, _BLOCK):
            at = chunk.find(self._magic)
            while at >= 0:
                if self._is_start(self._beginning(offset + at)):
                    return offset + at
                at = chunk.find(self._magic, at + 1)
            if len(chunk) < len(self._magic):
                return None
            offset += len(chunk) - len(self._magic) + 1
        return None

    def _beginning(self, offset: int) -> bytes:
        start = self._at(offset, _CHUNK)
        try:
            if self._kind == "gzip":
                return zlib.decompressobj(31).decompress(start, 8 << 10)
            return bytes(self._decoder().decompress(start[: 8 << 10]))
        except _ERRORS:
            return b""

    def _at(self, offset: int, size: int) -> bytes:
        self._handle.seek(offset)
        return self._handle.read(size)
