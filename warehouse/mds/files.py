"""Read shard files; compression, hashes and size limits, by the names Streaming gives them."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import importlib
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zstandard
from numpy.typing import NDArray

from udfs.amounts import parse_bytes
from udfs.errors import UsageError, did_you_mean
from warehouse.mds.index import MDSError, Shard

Bytes = bytes | bytearray | memoryview

#: Family → (lowest level, highest, default). The family is also the extension of the compressed file.
LEVELS = {"br": (0, 11, 11), "bz2": (1, 9, 9), "gz": (0, 9, 9), "snappy": (0, 0, 0), "zstd": (1, 22, 3)}

#: A compressed shard larger than this is unpacked into a temporary file and mapped, not into memory.
IN_MEMORY = 256 << 20


def parse_compression(text: str) -> tuple[str, int]:
    """Parse family and level of ``zstd`` or ``zstd:7``. Raises UsageError."""
    family, _, level = text.partition(":")
    if family not in LEVELS:
        raise UsageError(f"no compression {family!r}", hint=did_you_mean(family, LEVELS))
    low, high, default = LEVELS[family]
    if not level:
        return family, default
    if not level.isdecimal() or not low <= int(level) <= high or family == "snappy":
        raise UsageError(f"no level {level!r} of {family}", hint=f"levels of {family}: {low} to {high}")
    return family, int(level)


def compressor(text: str) -> Callable[[Bytes], bytes]:
    """Return the function that compresses one shard. Raises UsageError for an unknown name."""
    family, level = parse_compression(text)
    if family == "zstd":
        return zstandard.ZstdCompressor(level=level).compress
    if family == "gz":
        return lambda data: gzip.compress(data, level, mtime=0)  # the time would make equal exports differ
    if family == "bz2":
        return lambda data: bz2.compress(data, level)
    codec = pa.Codec("brotli", compression_level=level) if family == "br" else pa.Codec("snappy")
    return lambda data: bytes(codec.compress(data, asbytes=True))


def parse_size(size: int | str | None) -> int | None:
    """Parse a size in bytes from a number or from text such as ``64mb``. Raises UsageError for 4 GiB or more."""
    if size is None:
        return None
    try:
        value = parse_bytes(size, binary=True) if isinstance(size, str) else size
    except ValueError as error:
        raise UsageError(f"not a size: {size!r}", hint="sizes look like 67108864, 64mb or 1gb") from error
    if not 0 < value < 1 << 32:
        raise UsageError(f"a shard of {size} bytes", hint="offsets in a shard are 32 bits: less than 4 GiB")
    return int(value)


def hasher(name: str) -> Any:
    """Make a hash object: hashlib's, or xxhash's where that package is installed. Raises UsageError."""
    if name in hashlib.algorithms_available and not name.startswith("shake_"):
        return hashlib.new(name)
    if name.startswith("xxh"):
        try:
            return getattr(importlib.import_module("xxhash"), name)()
        except (ImportError, AttributeError) as error:
            raise UsageError(f"no hash {name!r}", hint="pip install xxhash") from error
    raise UsageError(f"no hash {name!r}", hint=did_you_mean(name, hashlib.algorithms_available))


def hashes_of(names: Iterable[str], parts: Iterable[Bytes | NDArray[Any]]) -> dict[str, str]:
    """Return hex digests of the concatenated parts."""
    running = {name: hasher(name) for name in names}
    for part in parts:
        for one in running.values():
            one.update(part)
    return {name: one.hexdigest() for name, one in running.items()}


def load(shard: Shard, *, check_hashes: bool) -> NDArray[Any]:
    """Load the raw bytes of a shard, unpacked, its size and hashes checked. Uncompressed shards are mapped, not read.

    Raises MDSError naming the shard.
    """
    path = shard.path
    try:
        size = path.stat().st_size
        stored = shard.raw if path == shard.folder / shard.raw.basename else shard.zipped
        assert stored is not None
        if size != stored.bytes:
            raise MDSError(f"{size} bytes where the index says {stored.bytes}: truncated or changed", path=path)
        data = np.memmap(path, np.uint8, "r") if size else np.empty(0, np.uint8)
        if check_hashes:
            _check(path, stored.hashes, data)
        if stored is shard.raw:
            return data
        data = _unpack(path, shard, data)
        if len(data) != shard.raw.bytes:
            raise MDSError(f"unpacks to {len(data)} bytes where the index says {shard.raw.bytes}", path=path)
        if check_hashes:
            _check(path, shard.raw.hashes, data)
        return data
    except OSError as error:
        raise MDSError(f"cannot read the shard: {error.strerror or error}", path=path) from error


def _check(path: Path, expected: dict[str, str], data: NDArray[Any]) -> None:
    for name, digest in expected.items():
        try:
            found = hashes_of([name], [data])[name]
        except UsageError:
            continue  # a hash that this installation cannot compute does not make the data wrong
        if found != digest:
            raise MDSError(f"{name} is {found}, the index says {digest}: the shard is damaged", path=path)


def _unpack(path: Path, shard: Shard, data: NDArray[Any]) -> NDArray[Any]:
    """Decompress. Codecs that can stream do so into a mapped temporary file when the shard is large."""
    try:
        family, _ = parse_compression(shard.compression or "")
        if family in ("br", "snappy"):
            codec = "brotli" if family == "br" else "snappy"
            return np.frombuffer(pa.decompress(data, shard.raw.bytes, codec=codec, asbytes=True), np.uint8)
        stream: Any
        with path.open("rb") as file:
            if family == "zstd":
                stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            else:
                stream = gzip.open(file) if family == "gz" else bz2.open(file)  # noqa: SIM115
            if shard.raw.bytes <= IN_MEMORY:
                return np.frombuffer(stream.read(shard.raw.bytes + 1), np.uint8)
            with tempfile.TemporaryFile() as target:
                shutil.copyfileobj(stream, target, 1 << 20)
                return np.memmap(target, np.uint8, "r")
    except UsageError as error:
        raise MDSError(error.message, path=path, hint=error.hint) from error
    except MDSError:
        raise
    except Exception as error:
        # Every codec has errors of its own (zlib.error, ZstdError, EOFError, ArrowInvalid); all mean the same here.
        raise MDSError(f"cannot unpack: {error}", path=path) from error
