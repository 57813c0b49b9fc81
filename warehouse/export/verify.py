"""Read an export back: every hash, sample, token and document must be what its manifest says."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import eq
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from udfs.errors import CuveeError
from warehouse.export.destinations import Destination, ExportReader, parse_destination
from warehouse.export.manifest import SAMPLES, Manifest, Stream, checksum
from warehouse.export.packing import LENGTHS
from warehouse.mds.index import MDSIndex, Shard
from warehouse.mds.reader import read_shard
from warehouse.mds.shared_memory import exclusive_start


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of reading an export back, each stream once, and its faults.

    ``official`` tells whether StreamingDataset read every sample too, and the same; it does if Streaming is installed.
    """

    manifest: Manifest
    samples: int
    tokens: int
    official: bool
    faults: tuple[str, ...]


def verify(export: Path | str, advance: Callable[[int], None] = lambda samples: None) -> Verification:
    """Read every sample of an export, in a folder or at a URL, and compare it with the manifest.

    ``advance`` hears of samples read. Raises UsageError if there is no export.
    """
    destination = parse_destination(export)
    manifest = destination.manifest()
    first = samples = tokens = 0
    faults: list[str] = []
    with destination.reading() as reader, tempfile.TemporaryDirectory() as scratch:
        theirs = None
        official = importlib.util.find_spec("streaming") is not None
        try:
            theirs = _StreamingReader(manifest, destination, Path(scratch)) if official else None
        except CuveeError as error:
            faults.append(str(error))
        for number, stream in enumerate(manifest.streams):
            folder = reader.folder / stream.path
            rows = n_tokens = 0
            try:
                if checksum(reader.get(folder / "index.json")) != stream.checksum:
                    faults.append(f"{stream.path}/index.json is not the one that was written")
                for shard in MDSIndex.read(folder).shards:
                    reader.get(shard.path)
                    for batch in read_shard(shard):
                        ids = range(first + rows, first + rows + batch.num_rows)
                        expected = (theirs[sample] for sample in ids) if theirs else None
                        faults += _samples(batch, manifest, stream, shard.path, expected)
                        rows += batch.num_rows
                        n_tokens += int(_lengths(batch, manifest).sum())
                        advance(batch.num_rows)
                    reader.forget(shard.path)
                    if theirs:
                        theirs.forget(number, shard)
            except (CuveeError, OSError) as error:
                faults.append(f"{stream.path}: {error}")
                continue
            finally:
                first += stream.samples
            if rows != stream.samples:
                faults.append(f"{stream.path}: {rows:,} samples, the manifest says {stream.samples:,}")
            if manifest.sequence_length and n_tokens != stream.tokens:
                faults.append(f"{stream.path}: {n_tokens:,} tokens, the manifest says {stream.tokens:,}")
            samples += rows
            tokens += n_tokens if manifest.sequence_length else stream.tokens
        faults += _merged(reader, manifest)
        faults += _documents(reader, manifest)
    return Verification(manifest, samples=samples, tokens=tokens, official=official, faults=tuple(faults))


def _lengths(batch: pa.RecordBatch, manifest: Manifest) -> NDArray[Any]:
    """Count the tokens of each sample, int64; 0 in an export of text."""
    if not manifest.sequence_length or manifest.column not in batch.schema.names:
        return np.zeros(batch.num_rows, np.int64)
    lengths: NDArray[Any] = pc.list_value_length(batch.column(manifest.column)).to_numpy().astype(np.int64)
    return lengths


def _samples(
    batch: pa.RecordBatch, manifest: Manifest, stream: Stream, path: Path, theirs: Iterator[dict[str, Any]] | None
) -> Iterator[str]:
    """Yield faults of the samples that our reader gives, and where Streaming gives something else."""
    missing = {manifest.column, *([] if manifest.sequence_length else ["component"])} - set(batch.schema.names)
    if missing:
        yield f"{path}: no column {', '.join(sorted(missing))}"
        return
    column = batch.column(manifest.column)
    if manifest.sequence_length:
        length = manifest.sequence_length
        lengths = _lengths(batch, manifest)
        if (manifest.packing == "concatenate" and (lengths != length).any()) or (lengths > length).any():
            yield f"{path}: samples of {column.type}, not of {length} tokens"
            return
        ids = column.flatten().to_numpy()
        if manifest.vocab_size is not None and int(ids.max()) >= manifest.vocab_size:
            yield f"{path}: token {int(ids.max())} in a vocabulary of {manifest.vocab_size}"
        rows = np.split(ids, np.cumsum(lengths)[:-1])
        pieces = batch.column(LENGTHS).to_pylist() if LENGTHS in batch.schema.names else None
        if pieces and list(map(sum, pieces)) != lengths.tolist():
            yield f"{path}: the lengths of a sample's documents are not the sample's"
        if theirs and not all(map(np.array_equal, rows, (sample[manifest.column] for sample in theirs))):
            yield f"{path}: Streaming reads other tokens"
    else:
        names = set(batch.column("component").unique().to_pylist())
        if names != {stream.component}:
            yield f"{path}: samples of component {', '.join(sorted(names))}, not {stream.component}"
        texts = [name for name in batch.schema.names if batch.schema.field(name).metadata[b"mds"] == b"str"]
        ours = batch.select(texts).to_pylist()
        if theirs and not all(map(eq, ours, ({name: sample[name] for name in texts} for sample in theirs))):
            yield f"{path}: Streaming reads other texts"


class _StreamingReader:
    """The samples of an export as StreamingDataset gives them, by sample id, from copies that it makes."""

    def __init__(self, manifest: Manifest, destination: Destination, scratch: Path) -> None:
        from streaming import Stream as Official
        from streaming import StreamingDataset

        self._folders = [scratch / str(number) for number in range(len(manifest.streams))]
        if "S3_ENDPOINT_URL" not in os.environ and (endpoint := os.environ.get("AWS_ENDPOINT_URL")):
            os.environ["S3_ENDPOINT_URL"] = endpoint  # Streaming knows it by this name only
        streams = [
            Official(remote=next(iter(destination.stream(stream.path).values())), local=str(folder))
            for stream, folder in zip(manifest.streams, self._folders, strict=True)
        ]
        try:
            with exclusive_start():
                self._dataset: Any = StreamingDataset(streams=streams, batch_size=1, validate_hash="sha256")
        except FileExistsError as error:
            clean = "streaming.base.util.clean_stale_shared_memory() removes it while nothing else reads"
            raise CuveeError("Streaming's shared memory of another process is in the way", hint=clean) from error
        except Exception as error:  # of many kinds, one per way to fetch an index
            raise CuveeError(f"StreamingDataset cannot open it: {str(error).partition(chr(10))[0]}") from error

    def __getitem__(self, sample: int) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self._dataset[sample]
            return found
        except Exception as error:  # of many kinds, one per way to fetch and to unpack
            raise CuveeError(f"Streaming cannot read sample {sample:,}: {str(error).partition(chr(10))[0]}") from error

    def forget(self, stream: int, shard: Shard) -> None:
        """Remove the copies of a shard that was read."""
        for file in (shard.raw, shard.zipped):
            if file:
                (self._folders[stream] / file.basename).unlink(missing_ok=True)


def _merged(reader: ExportReader, manifest: Manifest) -> Iterator[str]:
    """Yield faults of the indexes over several streams."""
    for above in ["", *dict.fromkeys(stream.path.partition("/")[0] for stream in manifest.streams)]:
        prefix = f"{above}/" if above else ""
        below = [stream.path for stream in manifest.streams if stream.path.startswith(prefix)]
        try:
            reader.get(reader.folder / above / "index.json")
            if _listed(reader, [above]) != _listed(reader, below):
                yield f"{prefix}index.json does not list the shards below it"
        except CuveeError as error:
            yield str(error)


def _listed(reader: ExportReader, folders: list[str]) -> set[tuple[Path, int]]:
    """Return the shards that indexes list, and the samples in each."""
    indexes = [MDSIndex.read(reader.folder / folder) for folder in folders]
    return {(shard.folder / shard.raw.basename, shard.samples) for index in indexes for shard in index.shards}


def _documents(reader: ExportReader, manifest: Manifest) -> Iterator[str]:
    """Yield faults of the table that says which documents a sample holds."""
    path = reader.folder / SAMPLES
    expected = sum(stream.samples for stream in manifest.streams)
    tokens = np.zeros(expected, np.int64)
    present = np.zeros(expected, bool)
    try:
        if checksum(reader.get(path)) != manifest.samples_checksum:
            yield f"{SAMPLES} is not the one that was written"
        for batch in pq.ParquetFile(path).iter_batches(1 << 20, columns=["sample_id", "n_tokens"]):
            sample = batch["sample_id"].to_numpy()
            if len(sample) and not 0 <= sample.min() <= sample.max() < expected:
                yield f"{SAMPLES} has sample {sample.max():,}, the manifest {expected:,} samples"
                return
            np.add.at(tokens, sample, batch["n_tokens"].to_numpy())
            present[sample] = True
    except (CuveeError, OSError, KeyError, pa.ArrowException) as error:
        yield f"{SAMPLES}: {error}"
        return
    if not present.all():
        yield f"{SAMPLES} lacks {int((~present).sum()):,} of {expected:,} samples"
    length = manifest.sequence_length
    fixed = length and manifest.packing == "concatenate"
    if fixed and (wrong := np.flatnonzero(tokens != length)).size:
        yield f"{SAMPLES}: sample {wrong[0]} has {tokens[wrong[0]]:,} tokens of documents, not {length:,}"
    listed = sum(stream.tokens for stream in manifest.streams)
    if tokens.sum() != listed:
        yield f"{SAMPLES} has {tokens.sum():,} tokens, the manifest {listed:,}"
