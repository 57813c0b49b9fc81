"""Read and merge index.json: the shards of a folder, and the columns of each."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from udfs.errors import ExportError, Location, UsageError

FILE = "index.json"


class MDSError(ExportError):
    """An index, a shard or a sample that is not what MDS says it must be. ``sample`` counts from 0 in its shard."""

    def __init__(
        self, message: str, *, path: Path | None = None, sample: int | None = None, hint: str | None = None
    ) -> None:
        self.path = path
        self.sample = sample
        where = Location(str(path)) if path else None
        super().__init__(message if sample is None else f"sample {sample}: {message}", where=where, hint=hint)


@dataclass(frozen=True, slots=True)
class ShardFile:
    """One file of a shard, relative to the folder of the index, with its size and hashes by algorithm."""

    basename: str
    bytes: int
    hashes: dict[str, str]


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard. ``columns`` are (name, encoding) in stored order; ``zipped`` is None for an uncompressed shard."""

    folder: Path
    columns: tuple[tuple[str, str], ...]
    samples: int
    raw: ShardFile
    zipped: ShardFile | None
    compression: str | None

    @property
    def path(self) -> Path:
        """The file that is there; the raw one if both are."""
        raw = self.folder / self.raw.basename
        return raw if self.zipped is None or raw.exists() else self.folder / self.zipped.basename


@dataclass(frozen=True, slots=True)
class MDSIndex:
    """The shards of one folder, in order."""

    folder: Path
    shards: tuple[Shard, ...]

    @classmethod
    def read(cls, folder: Path) -> MDSIndex:
        """Read ``folder/index.json``. Raises MDSError."""
        path = folder / FILE
        try:
            content = json.loads(path.read_bytes())
        except (ValueError, OSError) as error:
            raise MDSError(f"cannot read the index: {error}", path=path) from error
        if not _is_index(content):
            raise MDSError("not an MDS index: no list of shards", path=path)
        return cls(folder, tuple(_shard(folder, path, number, entry) for number, entry in enumerate(content["shards"])))


def find_folders(root: Path) -> list[Path]:
    """Find the MDS folders at and below ``root``, sorted, so that reading them all reads every shard once.

    An index that merges the folders below it is left out, and those folders are taken: they tell the sources apart, and
    the official merge writes wrong paths for folders more than one level down. A folder with shards whose index cannot
    be parsed is included; reading it says what is wrong.
    """
    kept: dict[Path, set[Path]] = {}
    for folder, _, files in sorted(os.walk(root), key=lambda entry: -len(Path(entry[0]).parts)):
        here = Path(folder)
        if FILE not in files:
            continue
        try:
            content = json.loads((here / FILE).read_bytes())
        except (ValueError, OSError):
            if any(".mds" in name for name in files):
                kept[here] = {here / FILE}
            continue
        if not _is_index(content):
            continue
        below = [other for other in kept if here in other.parents]
        covered = set().union(*(kept[other] for other in below))
        try:
            own = {shard.path for shard in MDSIndex.read(here).shards}
        except MDSError:
            own = {here / FILE}
        present = {path for path in own if path.exists()} if below else own
        if present - covered or not below:
            for other in below:
                if kept[other] <= present:
                    del kept[other]
            kept[here] = present
    return sorted(kept)


def merge_indexes(root: Path) -> int:
    """Write ``root/index.json`` over all MDS folders below it, however deep, in the order of their paths.

    Shards keep their places; an older merged index is replaced. Streaming's own merge_index keeps the last folder of a
    path only, so that shards more than one level down are not found. Returns the number of shards. Raises UsageError if
    there is nothing to merge, MDSError for an index that cannot be read.
    """
    folders = [folder for folder in find_folders(root) if folder != root]
    if not folders:
        raise UsageError(f"no MDS folders below {root}")
    shards = [shard for folder in folders for shard in _moved(folder, folder.relative_to(root).as_posix())]
    (root / FILE).write_text(json.dumps({"shards": shards, "version": 2}, sort_keys=True))
    return len(shards)


def _moved(folder: Path, prefix: str) -> list[dict[str, Any]]:
    """Return the entries of an index, as an index in a folder above has them."""
    try:
        entries: list[dict[str, Any]] = json.loads((folder / FILE).read_bytes())["shards"]
        for entry in entries:
            for key in ("raw_data", "zip_data"):
                if entry.get(key):
                    entry[key] = {**entry[key], "basename": f"{prefix}/{entry[key]['basename']}"}
        return entries
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise MDSError(f"cannot merge this index: {error}", path=folder / FILE) from error


def _is_index(content: object) -> bool:
    return isinstance(content, dict) and "version" in content and isinstance(content.get("shards"), list)


def _shard(folder: Path, path: Path, number: int, entry: Any) -> Shard:
    """Parse one entry of the index. Raises MDSError for one that no reader could use."""
    try:
        version, form = entry["version"], entry["format"]
        if version != 2 or form != "mds":
            message = f"shard {number}: version {version} of format {form!r}; only MDS version 2 is known"
            raise MDSError(message, path=path)
        names, encodings = entry["column_names"], entry["column_encodings"]
        if len(names) != len(encodings) or not all(isinstance(text, str) for text in (*names, *encodings)):
            raise MDSError(f"shard {number}: {len(names)} column names for {len(encodings)} encodings", path=path)
        return Shard(
            folder=folder,
            columns=tuple(zip(names, encodings, strict=True)),
            samples=int(entry["samples"]),
            raw=_file(path, number, entry["raw_data"]),
            zipped=_file(path, number, entry["zip_data"]) if entry.get("zip_data") else None,
            compression=entry.get("compression"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MDSError(f"shard {number}: {type(error).__name__}: {error}", path=path) from error


def _file(path: Path, number: int, entry: Any) -> ShardFile:
    name = PurePosixPath(entry["basename"])
    if name.is_absolute() or ".." in name.parts:
        raise MDSError(f"shard {number}: {name} is outside the folder", path=path)
    return ShardFile(str(name), int(entry["bytes"]), dict(entry.get("hashes") or {}))
