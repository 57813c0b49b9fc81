"""Merge the indexes of the MDS folders below a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from udfs.errors import UsageError
from warehouse.mds.error import MDSError
from warehouse.mds.index import FILE, find_folders


def merge_indexes(root: Path) -> int:
    """Write ``root/index.json`` over all MDS folders below it, however deep, in the order of their paths.

    Shards keep their places; an older merged index is replaced. Streaming's own merge_index keeps the last folder of a
    path only, so that shards more than one level down are not found. Returns the number of shards. Raises UsageError if
    there is nothing to merge, MDSError for an index that cannot be read.
    """
    folders = [folder for folder in find_folders(root) if folder != root]
    if not folders:
        raise UsageError(f"no MDS folders below {root}")
    shards = [shard for folder in folders for shard in _shards(folder, folder.relative_to(root).as_posix())]
    (root / FILE).write_text(json.dumps({"shards": shards, "version": 2}, sort_keys=True))
    return len(shards)


def _shards(folder: Path, prefix: str) -> list[dict[str, Any]]:
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
