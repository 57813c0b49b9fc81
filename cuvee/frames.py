"""What ``Warehouse.ingest`` takes: paths, and frames, which become a Parquet file that ingest reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from udfs.errors import UsageError, did_you_mean
from warehouse.ingest.inputs import Input
from warehouse.ingest.records import IngestOptions

#: The source of a frame that has no column ``source``, unless the caller names one.
_SOURCE = "frame"


def is_frame(documents: Any) -> bool:
    """Return whether something can be read by Arrow as a table."""
    return hasattr(documents, "__arrow_c_stream__")


def paths(documents: Any) -> list[str]:
    """Return the paths that a caller gave: one, or several. Raises UsageError for anything else."""
    given = [documents] if isinstance(documents, str | os.PathLike) else documents
    if isinstance(given, list | tuple) and given and all(isinstance(each, str | os.PathLike) for each in given):
        return [str(os.fspath(each)) for each in given]
    what = "an empty list" if isinstance(given, list | tuple) and not given else type(documents).__name__
    hint = "for texts in a list: pandas.DataFrame({'text': texts})"
    raise UsageError(f"ingest takes paths, a pandas DataFrame or an Arrow table, not {what}", hint=hint)


def write(frame: Any, folder: Path, options: IngestOptions) -> Input:
    """Write a frame into a folder, and return it as an input. Its path in raw.files is ``frame:<source>``.

    Raises UsageError if Arrow cannot read it, or if it has no column of texts.
    """
    try:
        table = pa.RecordBatchReader.from_stream(frame).read_all()
    except pa.ArrowException as error:
        hint = "give each column one type, for example: frame.astype({'column': str})"
        raise UsageError(f"Arrow cannot read the frame: {'; '.join(map(str, error.args))}", hint=hint) from None
    # pandas' own numbers of rows, where they are not 0, 1, 2, …: no property of a document.
    table = table.select([name for name in table.column_names if not name.startswith("__index_level_")])
    wanted = options.text_field.partition(".")[0]
    if options.text_field not in table.column_names and wanted not in table.column_names:
        hint = did_you_mean(wanted, table.column_names) or f"it has {', '.join(table.column_names)}"
        raise UsageError(f"the frame has no column {options.text_field!r}", hint=f"{hint}; name it by text_field")
    path = folder / f"{_SOURCE}.parquet"
    pq.write_table(table, path)
    place = f"{_SOURCE}:{options.source}" if options.source else _SOURCE
    return Input(path, _SOURCE, _SOURCE, path.name, url=place)
