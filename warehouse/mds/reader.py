"""Read shards into Arrow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from udfs.errors import UsageError
from warehouse.mds import encodings, files
from warehouse.mds.index import FILE, MDSError, MDSIndex, Shard

#: A batch holds about this many bytes of samples, or one sample if that is larger.
BATCH = 32 << 20


def read_folder(folder: Path, *, check_hashes: bool = True) -> Iterator[pa.RecordBatch]:
    """Read the samples of an MDS folder in order, as batches of at most ``BATCH`` bytes or one sample.

    Columns have the types of ``warehouse.mds.encodings``; each field's metadata has its encoding under ``mds``. Batches
    never cross shards: only ``ndarray`` columns of varying shape may change type from one shard to the next.
    Raises MDSError that names the shard, and the sample where one is at fault.
    """
    for shard in MDSIndex.read(folder).shards:
        yield from read_shard(shard, check_hashes=check_hashes)


def read_shard(shard: Shard, *, check_hashes: bool = True) -> Iterator[pa.RecordBatch]:
    """Read the samples of one shard. Raises MDSError."""
    try:
        columns = [(name, encodings.parse(encoding)) for name, encoding in shard.columns]
    except UsageError as error:
        raise MDSError(error.message, path=shard.folder / FILE, hint=error.hint) from error
    data = files.load(shard, check_hashes=check_hashes)
    offsets = _offsets(shard, data)
    first = 0
    while first < shard.samples:
        last = int(np.searchsorted(offsets, offsets[first] + BATCH, side="right")) - 1
        last = min(max(last, first + 1), shard.samples)
        try:
            yield _batch(columns, data, offsets[first : last + 1])
        except MDSError as error:
            sample = None if error.sample is None else first + error.sample
            message = error.message if error.sample is None else error.message.partition(": ")[2]
            raise MDSError(message, path=shard.path, sample=sample) from error
        first = last


def _offsets(shard: Shard, data: NDArray[Any]) -> NDArray[Any]:
    """Return where samples begin and end, int64[samples + 1], checked."""
    if len(data) < 8:
        raise MDSError(f"{len(data)} bytes are too few for a shard", path=shard.path)
    count = int(data[:4].view("<u4")[0])
    if count != shard.samples:
        raise MDSError(f"{count} samples where the index says {shard.samples}", path=shard.path)
    head = 4 + 4 * (count + 1)
    if len(data) < head:
        raise MDSError("ends inside its table of offsets", path=shard.path)
    offsets = data[4:head].view("<u4").astype(np.int64)
    wrong = np.flatnonzero((offsets[1:] < offsets[:-1]) | (offsets[1:] > len(data)) | (offsets[:-1] < head))
    if wrong.size:
        sample = int(wrong[0])
        bounds = f"{offsets[sample]} to {offsets[sample + 1]}"
        raise MDSError(f"is at bytes {bounds} of {len(data)}", path=shard.path, sample=sample)
    return offsets


def _batch(columns: list[tuple[str, encodings.Encoding]], data: NDArray[Any], offsets: NDArray[Any]) -> pa.RecordBatch:
    begins, ends = offsets[:-1], offsets[1:]
    heads = 4 * sum(encoding.size is None for _, encoding in columns)
    if (short := np.flatnonzero(ends - begins < heads)).size:
        raise MDSError("too short for its sizes", sample=int(short[0]))
    at = begins + heads
    spans: list[tuple[NDArray[Any], NDArray[Any]]] = []
    word = 0
    for _, encoding in columns:
        if encoding.size is None:
            size = _windows(data, 4)[begins + word].view("<u4").reshape(-1).astype(np.int64)
            word += 4
        else:
            size = np.full(len(begins), encoding.size, np.int64)
        spans.append((at, at + size))
        at = at + size
    if (wrong := np.flatnonzero(at != ends)).size:
        sample = int(wrong[0])
        message = f"its columns need {at[sample] - begins[sample]} bytes, it has {ends[sample] - begins[sample]}"
        raise MDSError(message, sample=sample)
    arrays, fields = [], []
    for (name, encoding), (begin, end) in zip(columns, spans, strict=True):
        if encoding.size is None:
            payload: encodings.Payload = encodings.gather(data, begin, end)
        elif len(columns) == 1:
            payload = data[begins[0] : ends[-1]].reshape(-1, encoding.size)  # nothing between the samples
        else:
            payload = _windows(data, encoding.size)[begin]
        array = encodings.decode(payload, name, encoding)
        arrays.append(array)
        fields.append(pa.field(name, array.type, nullable=False, metadata={"mds": encoding.name}))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _windows(data: NDArray[Any], size: int) -> NDArray[Any]:
    """Return all ranges of ``size`` bytes, overlapping, without a copy: indexing them reads at any alignment."""
    return np.lib.stride_tricks.as_strided(data, (len(data) - size + 1, size), (1, 1), writeable=False)
