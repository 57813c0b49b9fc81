"""Rows about a run's batches, on disk before the checkpoint that follows them.

    <run>/<name>/rank0-000000000000.parquet     rows of the batches from 0 on
    <run>/<name>/rank0-000000000200.parquet     rows of the batches from 200 on

Rows are kept in memory and written, one file each time, when a checkpoint is about to be written: so whatever a
checkpoint has behind it is on disk, and a run that resumes at batch k drops the files from k on and writes those rows
again. Files appear whole: a killed process leaves no half file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from udfs.atomic_files import write_atomically


class Journal:
    """An append-only table of one rank of one run; each row has a ``batch``."""

    def __init__(self, folder: Path, schema: pa.Schema, rank: int = 0) -> None:
        self._folder = folder
        self._schema = schema
        self._rank = rank
        self._rows: list[Mapping[str, Any]] = []
        self._next = 0

    def append(self, row: Mapping[str, Any]) -> None:
        """Keep a row until the next ``flush``."""
        self._rows.append(row)

    def flush(self, batch: int) -> None:
        """Write all rows kept so far; rows of ``batch`` and later will follow in another file."""
        if self._rows:
            content = pa.BufferOutputStream()
            pq.write_table(pa.Table.from_pylist(self._rows, self._schema), content, compression="zstd")
            path = self._folder / f"rank{self._rank}-{self._next:012}.parquet"
            write_atomically(path, content.getvalue().to_pybytes(), durable=True)
        self._rows = []
        self._next = batch

    def rewind(self, batch: int) -> None:
        """Forget everything from ``batch`` on: the run resumes there."""
        self._rows = []
        self._next = batch
        for path in self._folder.glob(f"rank{self._rank}-*"):
            if int(path.stem.rpartition("-")[2]) >= batch:
                path.unlink()


def read(folder: Path, schema: pa.Schema) -> pa.Table:
    """Return all rows on disk, of every rank, in the order of batches."""
    tables = [pq.read_table(path, schema=schema) for path in sorted(folder.glob("rank*.parquet"))]
    return pa.concat_tables(tables).sort_by("batch") if tables else schema.empty_table()
