"""MDS folders, through the one module that knows their layout. A sample's number, counted from 1, is its position.

A shard that cannot be read, or has no text, is rejected and the next one is tried. A folder that holds token samples
only is rejected as one; its tokens came from documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from warehouse.ingest.columnar import ColumnarDocuments, NoTextColumnError
from warehouse.ingest.parquet import empty
from warehouse.ingest.records import Batch, Options, Rejects

if TYPE_CHECKING:
    from warehouse.mds import Shard


def folders(root: Path) -> list[Path]:
    """The MDS folders at and below ``root``."""
    from warehouse.mds import find

    return find(root)


def files(folder: Path) -> list[Path]:
    """The files that an MDS folder consists of and that are there: its index and its shards."""
    from warehouse.mds import Index, MDSError

    index = folder / "index.json"
    try:
        shards = [shard.path for shard in Index.read(folder).shards]
    except MDSError:
        shards = []
    return [index, *(shard for shard in shards if shard.is_file())]


def read_mds(path: Path, source: str, options: Options) -> Iterator[Batch]:
    """Documents of an MDS folder: the one that holds ``index.json``."""
    from warehouse.mds import Index, MDSError, read_shard

    rejects = Rejects(path, options.strict)
    textless: list[tuple[int, str]] = []
    shards: Sequence[Shard] = ()
    first = 1
    try:
        shards = Index.read(path).shards
    except MDSError as error:
        rejects.add(0, str(error))
    for shard in shards:
        position = first
        try:
            documents: ColumnarDocuments | None = None
            for rows in read_shard(shard):
                documents = documents or ColumnarDocuments(path, source, options, rows.schema)
                yield from documents.batches(rows, position)
                position += rows.num_rows
        except NoTextColumnError as error:
            textless.append((position, f"MDS without text: {error}"))
        except MDSError as error:
            rejects.add(position, str(error))
        first += shard.samples
    if textless and len(textless) == len(shards):
        textless = [(0, textless[0][1])]
    for position, reason in textless:
        rejects.add(position, reason)
    yield empty(rejects)
