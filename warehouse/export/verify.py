"""Read an export back: every hash, sample, token and document must be what its manifest says."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udfs.errors import CuveeError
from warehouse import mds
from warehouse.export.manifest import SAMPLES, Manifest, Stream, checksum

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Verified:
    """What was read, each stream once, and what was wrong with it.

    ``official`` tells whether Streaming's own reader read every sample too, and the same; it does if it is installed.
    """

    manifest: Manifest
    samples: int
    tokens: int
    official: bool
    faults: tuple[str, ...]


def verify(folder: Path, advance: Callable[[int], None] = lambda samples: None) -> Verified:
    """Read every sample of an export and compare it with the manifest. ``advance`` hears of samples read.

    Raises UsageError if the folder holds no export.
    """
    manifest = Manifest.read(folder)
    official = importlib.util.find_spec("streaming") is not None
    samples = tokens = 0
    faults: list[str] = []
    for stream in manifest.streams:
        found = 0
        try:
            if checksum(folder / stream.path / "index.json") != stream.checksum:
                faults.append(f"{stream.path}/index.json is not the one that was written")
            for shard in mds.Index.read(folder / stream.path).shards:
                theirs = _officially(shard) if official else None
                for batch in mds.read_shard(shard):
                    faults += _samples(batch, manifest, stream, shard.path, theirs)
                    found += batch.num_rows
                    advance(batch.num_rows)
        except (CuveeError, OSError) as error:
            faults.append(f"{stream.path}: {error}")
            continue
        if found != stream.samples:
            faults.append(f"{stream.path}: {found:,} samples, the manifest says {stream.samples:,}")
        samples += found
        tokens += found * manifest.sequence_length if manifest.sequence_length else stream.tokens
    faults += _documents(folder, manifest)
    return Verified(manifest, samples, tokens, official, tuple(faults))


def _samples(
    batch: pa.RecordBatch, manifest: Manifest, stream: Stream, path: Path, theirs: Iterator[dict[str, Any]] | None
) -> Iterator[str]:
    """Faults of the samples that our reader gives, and where Streaming's gives something else."""
    import numpy as np

    missing = {manifest.column, *([] if manifest.sequence_length else ["component"])} - set(batch.schema.names)
    if missing:
        yield f"{path}: no column {', '.join(sorted(missing))}"
        return
    column = batch.column(manifest.column)
    if manifest.sequence_length:
        if getattr(column.type, "list_size", None) != manifest.sequence_length:
            yield f"{path}: samples of {column.type}, not of {manifest.sequence_length} tokens"
            return
        ids = column.flatten().to_numpy()
        if manifest.vocab_size is not None and int(ids.max()) >= manifest.vocab_size:
            yield f"{path}: token {int(ids.max())} in a vocabulary of {manifest.vocab_size}"
        rows = ids.reshape(batch.num_rows, -1)
        if theirs and not all(np.array_equal(row, next(theirs)[manifest.column]) for row in rows):
            yield f"{path}: Streaming reads other tokens"
    else:
        names = set(batch.column("component").unique().to_pylist())
        if names != {stream.component}:
            yield f"{path}: samples of component {', '.join(sorted(names))}, not {stream.component}"
        if theirs and not all(row == next(theirs) for row in batch.to_pylist()):
            yield f"{path}: Streaming reads other texts"


def _officially(shard: mds.Shard) -> Iterator[dict[str, Any]]:
    """The samples of a shard as mosaicml-streaming reads them."""
    from streaming.base.compression import decompress
    from streaming.base.format.mds.encodings import get_mds_encoded_size
    from streaming.base.format.mds.reader import MDSReader

    with tempfile.TemporaryDirectory() as scratch:
        place = shard.path
        if shard.zipped:
            place = Path(scratch) / shard.raw.basename
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(decompress(shard.compression, shard.path.read_bytes()))
        names, encodings = zip(*shard.columns, strict=True)
        reader = MDSReader.from_json(
            str(place.parent),
            "",
            {
                "version": 2,
                "format": "mds",
                "column_names": list(names),
                "column_encodings": list(encodings),
                "column_sizes": [get_mds_encoded_size(encoding) for encoding in encodings],
                "compression": None,
                "hashes": [],
                "raw_data": {"basename": place.name, "bytes": shard.raw.bytes, "hashes": {}},
                "samples": shard.samples,
                "size_limit": None,
                "zip_data": None,
            },
        )
        for index in range(shard.samples):
            yield reader[index]


def _documents(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Faults of the table that says which documents a sample holds."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / SAMPLES
    expected = sum(stream.samples for stream in manifest.streams)
    tokens = np.zeros(expected, np.int64)
    present = np.zeros(expected, bool)
    try:
        if checksum(path) != manifest.samples_checksum:
            yield f"{SAMPLES} is not the one that was written"
        for batch in pq.ParquetFile(path).iter_batches(1 << 20, columns=["sample_id", "n_tokens"]):
            sample = batch["sample_id"].to_numpy()
            if len(sample) and not 0 <= sample.min() <= sample.max() < expected:
                yield f"{SAMPLES} has sample {sample.max():,}, the manifest {expected:,} samples"
                return
            np.add.at(tokens, sample, batch["n_tokens"].to_numpy())
            present[sample] = True
    except (OSError, KeyError, pa.ArrowException) as error:
        yield f"{SAMPLES}: {error}"
        return
    if not present.all():
        yield f"{SAMPLES} lacks {int((~present).sum()):,} of {expected:,} samples"
    length = manifest.sequence_length
    if length and (wrong := np.flatnonzero(tokens != length)).size:
        yield f"{SAMPLES}: sample {wrong[0]} has {tokens[wrong[0]]:,} tokens of documents, not {length:,}"
    listed = sum(stream.tokens for stream in manifest.streams)
    if tokens.sum() != listed:
        yield f"{SAMPLES} has {tokens.sum():,} tokens, the manifest {listed:,}"
