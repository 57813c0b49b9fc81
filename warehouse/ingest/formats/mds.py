"""Read MDS folders, by the one package that knows their layout. A sample's number, counted from 1, is its position.

A shard that cannot be read, or has no text, is rejected and the next one is tried. A folder that holds token samples
only is rejected as one, unless a tokenizer is named that makes text of them; special tokens are left out of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from warehouse.ingest.formats.columnar import ColumnarDocuments, NoTextColumnError
from warehouse.ingest.records import DocumentBatch, IngestOptions, RejectCollector
from warehouse.mds.index import MDSError, MDSIndex, Shard
from warehouse.mds.reader import read_shard

#: Columns that hold token ids.
TOKENS = ("input_ids", "tokens")


def files(folder: Path) -> list[Path]:
    """List the files of an MDS folder that are there: its index and its shards."""
    index = folder / "index.json"
    try:
        shards = [shard.path for shard in MDSIndex.read(folder).shards]
    except MDSError:
        shards = []
    return [index, *(shard for shard in shards if shard.is_file())]


def _decoded(rows: pa.RecordBatch, options: IngestOptions) -> pa.RecordBatch:
    """Name columns of JSON as such. Replace tokens by text, if there is a tokenizer and no text."""
    for index, field in enumerate(rows.schema):
        if (field.metadata or {}).get(b"mds") == b"json" and field.name != options.text_field:
            as_json = pa.ExtensionArray.from_storage(pa.json_(), rows[index].cast(pa.string()))
            rows = rows.set_column(index, field.name, as_json)
    tokens = next((name for name in TOKENS if name in rows.schema.names), None)
    if options.tokenizer is None or tokens is None or options.text_field in rows.schema.names:
        return rows
    texts = _tokenizer(options.tokenizer).decode_batch(rows[tokens].to_pylist())
    return rows.drop_columns([tokens]).append_column(options.text_field, pa.array(texts, pa.large_string()))


@cache
def _tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path))


def read_mds(path: Path, source: str, options: IngestOptions) -> Iterator[DocumentBatch]:
    """Read the documents of an MDS folder: the one that holds ``index.json``."""
    rejects = RejectCollector(path, options.strict)
    textless: list[tuple[int, str]] = []
    shards: Sequence[Shard] = ()
    first = 1
    try:
        shards = MDSIndex.read(path).shards
    except MDSError as error:
        rejects.add(0, str(error))
    for shard in shards:
        position = first
        try:
            documents: ColumnarDocuments | None = None
            for rows in map(partial(_decoded, options=options), read_shard(shard)):
                documents = documents or ColumnarDocuments(path, source, options, rows.schema)
                yield from documents.batches(rows, position)
                position += rows.num_rows
        except NoTextColumnError as error:
            textless.append((position, f"MDS without text: {error}"))
        except MDSError as error:
            for sample in range(position, first + shard.samples):
                rejects.add(sample, str(error))
        first += shard.samples
    if textless and len(textless) == len(shards):
        hint = "; --tokenizer makes text of tokens" if options.tokenizer is None else ""
        textless = [(0, textless[0][1] + hint)]
    for position, reason in textless:
        rejects.add(position, reason)
    yield rejects.batch()
