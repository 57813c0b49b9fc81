"""A file's bytes in blocks, decompressed.

gzip (several members, as Common Crawl and Dolma write it) and Zstandard (several frames) are told by their first
bytes. A damaged stream gives everything before the damage, then raises DamagedStreamError.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from isal import isal_zlib

from udfs.errors import CuveeError

BLOCK = 8 << 20
GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"

#: Input per call of the Zstandard decoder, which bounds no output: an RLE block makes 128 kB of 4 bytes, so 8 kB of
#: a decompression bomb become 256 MB at most.
_ZSTD_INPUT = 8 << 10

#: Zstandard's own default. A frame made with --long=28 or more needs a window that would break the memory bound.
_ZSTD_WINDOW = 128 << 20


class DamagedStreamError(CuveeError):
    """A compressed file is cut off or corrupt; what came before the damage was read.

    ``unfinished`` is the beginning of the record that the damage cut.
    """

    unfinished: bytes | None = None


def compression(head: bytes) -> str | None:
    """``gzip``, ``zstd`` or None, by a file's first bytes."""
    if head.startswith(GZIP):
        return "gzip"
    skippable = len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50
    return "zstd" if head.startswith(ZSTD) or skippable else None


def blocks(path: Path) -> Generator[bytes, None, None]:
    """The decompressed bytes of a file, in blocks of up to 8 MiB (a bomb may exceed it, see above).

    Raises DamagedStreamError after the last readable block, OSError if the file cannot be opened.
    """
    with path.open("rb", buffering=0) as handle:
        kind = compression(handle.read(4))
        handle.seek(0)
        if kind == "gzip":
            yield from _gunzip(handle)
        elif kind == "zstd":
            yield from _unzstd(handle)
        else:
            while block := handle.read(BLOCK):
                yield block


def head(path: Path, size: int) -> tuple[bytes, DamagedStreamError | None]:
    """The first ``size`` decompressed bytes; fewer if the file ends or, with the error, if it is damaged before."""
    collected = b""
    with closing(blocks(path)) as stream:
        try:
            for block in stream:
                collected += block[: size - len(collected)]
                if len(collected) >= size:
                    break
        except DamagedStreamError as error:
            return collected, error
    return collected, None


def _gunzip(handle: BinaryIO) -> Iterator[bytes]:
    # ISA-L inflates 320 MB of text in 0.38 s where zlib takes 1.0 s; it was half of all work on gzipped files.
    decoder, fresh = isal_zlib.decompressobj(31), True
    while chunk := handle.read(1 << 20):
        while chunk:
            if fresh:
                # A member must follow; zeros are padding, as tape archives and some writers leave.
                chunk = chunk.lstrip(b"\0")
                if not chunk:
                    break
            try:
                block = decoder.decompress(chunk, BLOCK)
            except isal_zlib.IsalError as error:  # type: ignore[misc]
                where = f"byte {handle.tell() - len(chunk):,} or soon after"
                raise DamagedStreamError(f"gzip stream is corrupt at {where}: {error}") from error
            fresh = False
            if block:
                yield block
            if decoder.eof:
                chunk, decoder, fresh = decoder.unused_data, isal_zlib.decompressobj(31), True
            else:
                chunk = decoder.unconsumed_tail
    if not fresh:
        yield decoder.decompress(b"", BLOCK)
        if not decoder.eof:
            raise DamagedStreamError(f"gzip stream is cut off after {handle.tell():,} bytes")


def _unzstd(handle: BinaryIO) -> Iterator[bytes]:
    import zstandard

    factory = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    decoder, fresh = factory.decompressobj(), True
    collected: list[bytes] = []
    size = 0
    while chunk := handle.read(_ZSTD_INPUT):
        while chunk:
            try:
                block = decoder.decompress(chunk)
            except zstandard.ZstdError as error:
                yield b"".join(collected)
                where = f"byte {handle.tell() - len(chunk):,} or soon after"
                raise DamagedStreamError(f"zstd stream cannot be read at {where}: {error}") from error
            fresh = False
            collected.append(block)
            size += len(block)
            if size >= BLOCK:
                yield b"".join(collected)
                collected, size = [], 0
            chunk = b""
            if decoder.eof:
                chunk, decoder, fresh = decoder.unused_data, factory.decompressobj(), True
    yield b"".join(collected)
    if not fresh:
        raise DamagedStreamError(f"zstd stream is cut off after {handle.tell():,} bytes")
