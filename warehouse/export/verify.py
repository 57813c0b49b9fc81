"""Read an export back: every hash, sample, token and document must be what its manifest says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from udfs.errors import CuveeError
from warehouse import mds
from warehouse.export.manifest import SAMPLES, Manifest, checksum


@dataclass(frozen=True, slots=True)
class Verified:
    """What was read, each stream once, and what was wrong with it."""

    manifest: Manifest
    samples: int
    tokens: int
    faults: tuple[str, ...]


def verify(folder: Path) -> Verified:
    """Read every shard of an export and compare it with the manifest.

    Raises UsageError if the folder holds no export.
    """
    manifest = Manifest.read(folder)
    samples = tokens = 0
    faults: list[str] = []
    for stream in manifest.streams:
        path = folder / stream.path
        found = 0
        if not stream.samples:
            continue  # its documents fill no sequence: it has no folder
        try:
            if checksum(path / "index.json") != stream.checksum:
                faults.append(f"{stream.path}/index.json is not the one that was written")
            found = sum(batch.num_rows for batch in mds.read(path))
        except (CuveeError, OSError) as error:
            faults.append(f"{stream.path}: {error}")
            continue
        if found != stream.samples:
            faults.append(f"{stream.path}: {found:,} samples, the manifest says {stream.samples:,}")
        samples += found
        tokens += found * manifest.sequence_length if manifest.sequence_length else stream.tokens
    faults += _documents(folder, manifest)
    return Verified(manifest, samples, tokens, tuple(faults))


def _documents(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Faults of the table that says which documents a sample holds."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    path = folder / SAMPLES
    try:
        if checksum(path) != manifest.samples_checksum:
            yield f"{SAMPLES} is not the one that was written"
        rows = pq.read_table(path, columns=["sample_id", "n_tokens"])
    except (OSError, pa.ArrowException) as error:
        yield f"{SAMPLES}: {error}"
        return
    expected = sum(stream.samples for stream in manifest.streams)
    found = pc.count_distinct(rows["sample_id"]).as_py()
    if found != expected:
        yield f"{SAMPLES} has {found:,} samples, the manifest {expected:,}"
    tokens = pc.sum(rows["n_tokens"]).as_py() or 0
    listed = sum(stream.tokens for stream in manifest.streams)
    if tokens != listed:
        yield f"{SAMPLES} has {tokens:,} tokens, the manifest {listed:,}"
