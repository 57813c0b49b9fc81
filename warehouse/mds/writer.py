"""Write shards from Arrow, byte for byte as Streaming's MDSWriter writes the same samples with the same options."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from udfs.errors import UsageError
from warehouse.mds import encodings, files
from warehouse.mds.index import FILE, MDSError

#: Streaming's default.
SIZE_LIMIT = 1 << 26


class ShardWriter:
    """Writes batches to ``folder`` as shards and, when closed, their index.json.

    One difference from MDSWriter: if the very first sample is over the size limit, MDSWriter puts an empty shard
    before it, and this does not.

    >>> with ShardWriter(folder, {"id": "str", "text": "str"}, compression="zstd") as writer:  # doctest: +SKIP
    ...     writer.write(batch)
    """

    def __init__(
        self,
        folder: Path,
        columns: Mapping[str, str],
        *,
        compression: str | None = None,
        hashes: Sequence[str] = (),
        size_limit: int | str | None = SIZE_LIMIT,
    ) -> None:
        """Open a folder. Raises UsageError for unknown encodings, compressions and hashes, and if it is not empty."""
        if folder.exists() and any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty")
        if list(hashes) != sorted(set(hashes)):
            raise UsageError("hashes must be unique and sorted")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.columns = [(name, encodings.parse(columns[name])) for name in sorted(columns)]
        self.size_limit = files.parse_size(size_limit)
        self.samples = 0
        self._hashes = list(hashes)
        self._compression = compression
        self._compress = files.compressor(compression) if compression else None
        files.hashes_of(hashes, [])
        self._config = {
            "version": 2,
            "format": "mds",
            "compression": compression,
            "hashes": self._hashes,
            "size_limit": self.size_limit,
            "column_names": [name for name, _ in self.columns],
            "column_encodings": [encoding.name for _, encoding in self.columns],
            "column_sizes": [encoding.size for _, encoding in self.columns],
        }
        self._config_data = json.dumps(self._config, sort_keys=True).encode()
        self._shards: list[dict[str, Any]] = []
        self._pending: list[tuple[NDArray[Any], NDArray[Any]]] = []  # (sizes, bytes) of the open shard
        self._empty_size = 8 + len(self._config_data)
        self._pending_size = self._empty_size

    def write(self, batch: pa.RecordBatch) -> None:
        """Append the samples of a batch. Columns that the writer does not have are left out.

        Raises MDSError for NULLs and values that do not fit the encoding.
        """
        if not batch.num_rows:
            return
        missing = [name for name, _ in self.columns if name not in batch.schema.names]
        if missing:
            raise MDSError(f"the batch lacks {', '.join(missing)}")
        sizes, data = encode(batch, self.columns)
        self.samples += len(sizes)
        ends = np.cumsum(sizes)
        costs = np.cumsum(sizes + 4)  # a sample also costs its offset
        first = 0
        while first < len(sizes):
            room = len(sizes)
            if self.size_limit is not None:
                spent = int(costs[first - 1]) if first else 0
                room = int(np.searchsorted(costs, self.size_limit - self._pending_size + spent, side="right"))
            last = max(room, first if self._pending else first + 1)
            if last > first:
                begin = int(ends[first - 1]) if first else 0
                self._pending.append((sizes[first:last], data[begin : int(ends[last - 1])]))
                self._pending_size += int(costs[last - 1]) - (int(costs[first - 1]) if first else 0)
            if last < len(sizes):
                self._flush()
            first = last

    def close(self) -> list[dict[str, Any]]:
        """Write the last shard and the index; return the index's entries."""
        if self._pending:
            self._flush()
        with (self.folder / FILE).open("w") as handle:
            json.dump({"version": 2, "shards": self._shards}, handle, sort_keys=True)
        return self._shards

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def _flush(self) -> None:
        sizes = np.concatenate([part for part, _ in self._pending])
        parts: list[Any] = [head(sizes, self._config_data), *(data for _, data in self._pending)]
        name = f"shard.{len(self._shards):05}.mds"
        raw = self._file(name, parts)
        zipped = None
        if self._compress:
            parts = [self._compress(b"".join(parts))]
            family, _ = files.parse_compression(self._compression or "")
            zipped = self._file(f"{name}.{family}", parts)
        with (self.folder / (zipped or raw)["basename"]).open("wb", buffering=0) as handle:
            for part in parts:
                view = memoryview(part)
                while view:  # an unbuffered write may stop short, at 2 GiB for one
                    view = view[handle.write(view) :]
        self._shards.append({"samples": len(sizes), "raw_data": raw, "zip_data": zipped, **self._config})
        self._pending = []
        self._pending_size = self._empty_size

    def _file(self, name: str, parts: list[Any]) -> dict[str, Any]:
        size = sum(memoryview(part).nbytes for part in parts)
        return {"basename": name, "bytes": size, "hashes": files.hashes_of(self._hashes, parts)}


def head(sizes: NDArray[Any], config: bytes) -> bytes:
    """Write the part of a shard before its samples. Raises MDSError if they are 4 GiB or more together."""
    offsets = np.concatenate([[0], np.cumsum(sizes)]) + 4 + 4 * (len(sizes) + 1) + len(config)
    if offsets[-1] >= 1 << 32:
        raise MDSError(f"a shard of {offsets[-1]:,} bytes; offsets are 32 bits", hint="set a size limit")
    numbers: bytes = np.concatenate([[len(sizes)], offsets]).astype("<u4").tobytes()
    return numbers + config


def encode(batch: pa.RecordBatch, columns: list[tuple[str, encodings.Encoding]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Encode the samples of a batch: their sizes, int64[n], and their bytes one after the other, uint8.

    ``columns`` are sorted by name. Where all sizes are fixed and there is one column, nothing is copied.
    """
    payloads = [encodings.encode(batch.column(name), name, encoding) for name, encoding in columns]
    count = batch.num_rows
    fixed = [payload for payload in payloads if isinstance(payload, np.ndarray)]
    if len(fixed) == len(payloads):
        rows = fixed[0] if len(fixed) == 1 else np.concatenate(fixed, axis=1)
        return np.full(count, rows.shape[1], np.int64), np.ascontiguousarray(rows).reshape(-1)
    variable = [payload for payload in payloads if not isinstance(payload, np.ndarray)]
    heads = np.empty((count, len(variable)), "<u4")
    for index, payload in enumerate(variable):
        heads[:, index] = encodings.lengths(payload)
    samples = encodings.join([encodings.as_binary(heads.view(np.uint8)), *map(encodings.as_binary, payloads)])
    offsets = np.frombuffer(samples.buffers()[1], np.int64)[: count + 1]
    return np.diff(offsets), np.frombuffer(samples.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
