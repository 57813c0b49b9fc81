"""The store of shards: ``<lake>/shards``, one folder per unit, named by everything that decided its bytes.

    shards/3f/3f9c…/
        index.json           an MDS index over the unit's shards
        documents.parquet    sample, doc_id, n_tokens
        unit.json            counts
        shard.00000.mds …

A unit is the documents of one component, stream and hash bucket. It is written elsewhere and renamed into place, so a
unit that is there is complete, and an interrupted export keeps the units it finished. Units never change; exports link
their shards.

``cuvee export gc`` removes units that no export links and that no manifest names of an export that is still there:
exports at URLs and on other file systems hold copies.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.export.packing import Packing
from warehouse.mds.writer import ShardWriter
from warehouse.mixtures.mixture import Level

#: Version of what is below: raising it makes every unit a new one.
VERSION = 1
DOCUMENTS = "documents.parquet"
COUNTS = "unit.json"


@dataclass(frozen=True, slots=True)
class ShardOptions:
    """How shards are written; part of their identity."""

    compression: str | None = None
    size_limit: int = 1 << 26
    hashes: tuple[str, ...] = ("sha256",)


@dataclass(frozen=True, slots=True)
class ShardTask:
    """A unit to be written or linked, in its level. ``number`` names it in the temporary tables."""

    number: int
    level: Level
    key: str
    documents: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ShardUnit:
    """A finished unit. ``tokens`` and ``dropped_tokens`` count it once."""

    folder: Path
    samples: int
    tokens: int
    dropped_tokens: int
    documents: int

    def shards(self) -> list[dict[str, Any]]:
        """Return the entries of its index."""
        entries: list[dict[str, Any]] = json.loads((self.folder / "index.json").read_bytes())["shards"]
        return entries

    def file(self, entry: Mapping[str, Any]) -> Path:
        """Return the file of an entry."""
        return self.folder / str(stored(entry)["basename"])

    @property
    def key(self) -> str:
        """Its name in the store."""
        return self.folder.name


class ShardStore:
    """The units of a lake."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextlib.contextmanager
    def lock(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the store: one export or collection at a time, for two exports would write the same units.

        ``waiting`` is called if another process holds it.
        """
        from filelock import FileLock, Timeout

        self.root.mkdir(exist_ok=True)
        lock = FileLock(self.root / "export.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def get(self, key: str) -> ShardUnit | None:
        """Return the unit, if it is there and its files have the sizes that its index says.

        A damaged unit (files cut short by a power failure) is removed: it will be written again.
        """
        folder = self._folder(key)
        try:
            unit = ShardUnit(folder, **json.loads((folder / COUNTS).read_bytes()))
            if all(unit.file(entry).stat().st_size == stored(entry)["bytes"] for entry in unit.shards()):
                return unit
        except (OSError, ValueError, TypeError, KeyError):
            pass
        shutil.rmtree(folder, ignore_errors=True)
        return None

    def write(
        self, task: ShardTask, draft: Path, packing: Packing, options: ShardOptions, documents: pa.RecordBatch
    ) -> ShardUnit:
        """Encode a unit into the folder ``draft`` and move it into the store.

        ``documents`` (doc_id, n_tokens, payload) are in the unit's order.
        """
        packed = packing.pack(documents, task.level.component)
        with ShardWriter(draft, packing.columns, **asdict(options)) as writer:
            writer.write(packed.samples)
        pq.write_table(pa.Table.from_batches([packed.documents]), draft / DOCUMENTS, compression="zstd")
        folder = self._folder(task.key)
        counts = {
            "samples": packed.samples.num_rows,
            "tokens": packed.tokens,
            "dropped_tokens": packed.dropped_tokens,
            "documents": documents.num_rows,
        }
        (draft / COUNTS).write_text(json.dumps(counts))
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft.rename(folder)
        return ShardUnit(folder, **counts)

    def collect(self, named: Collection[str] = ()) -> tuple[int, int]:
        """Remove units that no manifest names and no export links. Gives how many, and their bytes.

        ``named`` are the keys that manifests name: exports in other places hold copies, not links.
        """
        units = freed = 0
        for counts in self.root.glob(f"*/*/{COUNTS}"):
            files = list(counts.parent.iterdir())
            if counts.parent.name not in named and all(file.stat().st_nlink == 1 for file in files):
                units += 1
                freed += sum(file.stat().st_size for file in files)
                shutil.rmtree(counts.parent)
        return units, freed

    def _folder(self, key: str) -> Path:
        return self.root / key[:2] / key


def unit_key(packing: Packing, options: ShardOptions, component: str, seed: int, digest: str) -> str:
    """Name a unit: 32 hex digits over its documents (``digest``, with ``seed`` for their order) and options.

    A text sample carries its component, a token sequence does not: there components share equal units.
    """
    identity = {
        "version": VERSION,
        "documents": digest,
        "seed": seed,
        "component": component if "component" in packing.columns else None,
        **packing.identity,
        **asdict(options),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def link(source: Path, target: Path) -> None:
    """Link a file, or copy it where the file system cannot link. A target that is there has the same bytes."""
    try:
        os.link(source, target)
    except FileExistsError:
        pass
    except OSError:
        shutil.copyfile(source, target)


def stored(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the file of an index entry that is on disk: the compressed one if there is one."""
    file: Mapping[str, Any] = entry["zip_data"] or entry["raw_data"]
    return file
