"""Read a file's bytes in blocks, decompressed, and text in UTF-16 as UTF-8.

gzip (several members, as Common Crawl and Dolma write it), Zstandard (several frames), bzip2, xz and LZ4 are recognised
by their first bytes, UTF-16 and UTF-32 by their byte order mark. A damaged stream gives everything before the damage,
then raises DamagedStreamError.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import itertools
import lzma
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import zstandard
from isal import isal_zlib

from udfs.errors import LakeError

BLOCK = 8 << 20
GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"

#: What the names of compressed files end with.
SUFFIXES = (".gz", ".zst", ".bz2", ".xz", ".lz4")

_MAGIC = (
    (GZIP, "gzip"), (ZSTD, "zstd"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x04\x22\x4d\x18", "lz4")
)  # fmt: skip

#: The longer one first: the marks of UTF-32 begin as those of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip

_NOT_CONTROL = bytes(code for code in range(256) if code >= 32 or code in b"\t\n\r\f\b\x1b")

#: Input per call of the Zstandard decoder, which bounds no output: an RLE block makes 128 kB of 4 bytes, so 8 kB of
#: a decompression bomb become 256 MB at most.
_ZSTD_INPUT = 8 << 10

#: The longest window that Zstandard has (--long=31). Dumps of forums are packed so; memory is taken as it is used.
_ZSTD_WINDOW = 1 << 31


class DamagedStreamError(LakeError):
    """A compressed file is cut off or corrupt; what came before the damage was read.

    ``unfinished`` is the beginning of the record that the damage cut.
    """

    unfinished: bytes | None = None


def compression(head: bytes) -> str | None:
    """Return how a file is compressed, by its first bytes, or None."""
    found = next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)
    skippable = len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50
    return "zstd" if skippable else found


def controls(data: bytes) -> int:
    """Count control characters that no text has. Of compressed bytes a tenth are such."""
    return len(data.translate(None, _NOT_CONTROL))


def plain_name(path: Path) -> str:
    """Return the file's name in lower case, without the suffix of its compression."""
    name = path.name.lower()
    return next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)


def blocks(path: Path) -> Generator[bytes, None, None]:
    """Yield the decompressed bytes of a file, in blocks of up to 8 MiB (a bomb may exceed it, see above).

    Raises DamagedStreamError after the last readable block, OSError if the file cannot be opened.
    """
    with path.open("rb", buffering=0) as handle:
        kind = compression(handle.read(8))
        handle.seek(0)
        stream = _DECODERS[kind](handle)
        first = next(stream, b"")
        encoding = next((name for mark, name in _MARKS if first.startswith(mark)), None)
        whole = itertools.chain([first] if first else (), stream)
        yield from whole if encoding is None else _recoded(whole, encoding)


def _plain(handle: BinaryIO) -> Iterator[bytes]:
    while block := handle.read(BLOCK):
        yield block


def _recoded(stream: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Write text as UTF-8. A lone surrogate becomes what is not UTF-8, so that its record is rejected, not the file."""
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    try:
        for block in stream:
            if text := decoder.decode(block):
                yield text.encode("utf-8", "surrogatepass")
        if decoder.getstate()[0]:
            raise DamagedStreamError(f"{encoding.upper()} text is cut off inside a character")
    except UnicodeDecodeError as error:
        raise DamagedStreamError(f"not {encoding.upper()}: {error.reason}") from error


def head(path: Path, size: int) -> tuple[bytes, DamagedStreamError | None]:
    """Return the first ``size`` decompressed bytes: fewer if the file ends, or is damaged (with the error) before."""
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


class BlockFile(io.RawIOBase):
    """Blocks as a file. Where the stream is damaged the file ends, and ``damage`` says why."""

    def __init__(self, stream: Iterator[bytes]) -> None:
        self._stream = stream
        self._block = memoryview(b"")
        self.size = 0
        self.ended = False
        self.damage: DamagedStreamError | None = None

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size - len(self._block)

    def readinto(self, buffer: Any) -> int:
        while not self._block:
            try:
                self._block = memoryview(next(self._stream))
                self.size += len(self._block)
            except StopIteration:
                self.ended = True
                return 0
            except DamagedStreamError as error:
                self.damage, self.ended = error, True
                return 0
        n = min(len(buffer), len(self._block))
        buffer[:n] = self._block[:n]
        self._block = self._block[n:]
        return n


def compress(file: BinaryIO, suffix: str) -> AbstractContextManager[BinaryIO]:
    """Wrap a file to write, so that it is compressed as the suffix of its name says. The file stays open."""
    if suffix == ".gz":
        # Without name and time: equal contents give equal files.
        return cast("AbstractContextManager[BinaryIO]", gzip.GzipFile("", "wb", fileobj=file, mtime=0))
    if suffix == ".zst":
        return cast("AbstractContextManager[BinaryIO]", zstandard.ZstdCompressor().stream_writer(file, closefd=False))
    return nullcontext(file)


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


def _with(decompressor: Callable[[], Any], refused: tuple[type[Exception], ...], kind: str) -> _Decoder:
    """Return a decoder of streams of one or more members, by the standard library."""

    def decoded(handle: BinaryIO) -> Iterator[bytes]:
        decoder, fresh = decompressor(), True
        while chunk := handle.read(1 << 20):
            while chunk or not (decoder.needs_input or decoder.eof):
                if fresh and not (chunk := chunk.lstrip(b"\0")):
                    break
                try:
                    block = decoder.decompress(chunk, BLOCK)
                except refused as error:
                    where = f"byte {handle.tell() - len(chunk):,} or before"
                    raise DamagedStreamError(f"{kind} stream is corrupt at {where}: {error}") from error
                chunk, fresh = b"", False
                if block:
                    yield block
                if decoder.eof:
                    chunk, decoder, fresh = decoder.unused_data, decompressor(), True
        if not fresh:
            raise DamagedStreamError(f"{kind} stream is cut off after {handle.tell():,} bytes")

    return decoded


def _unlz4(handle: BinaryIO) -> Iterator[bytes]:
    import pyarrow as pa

    stream = pa.CompressedInputStream(pa.PythonFile(handle, mode="r"), "lz4")
    try:
        while block := stream.read(1 << 20):
            yield block
    except OSError as error:
        raise DamagedStreamError(f"lz4 stream is corrupt or cut off: {error}") from error


_Decoder: TypeAlias = "Callable[[BinaryIO], Iterator[bytes]]"

_DECODERS: dict[str | None, _Decoder] = {
    None: _plain,
    "gzip": _gunzip,
    "zstd": _unzstd,
    "bzip2": _with(bz2.BZ2Decompressor, (OSError, EOFError), "bzip2"),
    "xz": _with(lzma.LZMADecompressor, (lzma.LZMAError, EOFError), "xz"),
    "lz4": _unlz4,
}
