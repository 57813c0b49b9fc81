"""Staged files, and the one transaction that makes them part of the lake."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from udfs.errors import CuveeError
from warehouse.lake.names import split_name, staging_folder, table_folder
from warehouse.lake.parquet import rows_of
from warehouse.lake.quoting import quote

if TYPE_CHECKING:
    import duckdb


class Staging:
    """A folder of Parquet files that are not yet part of the lake."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, table: str) -> Path:
        """Return a new path for a Parquet file that will belong to ``table`` (``schema.name``)."""
        path = self.folder / staging_folder(table) / f"{uuid.uuid4().hex}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


class Commit:
    """A transaction that holds the lake's lock. ``data`` is the folder of the lake's data files."""

    def __init__(self, data: Path, cursor: duckdb.DuckDBPyConnection) -> None:
        self._data = data
        self._cursor = cursor
        self._moved: list[tuple[Path, Path]] = []

    def sql(self, statement: str, parameters: Sequence[object] | None = None) -> duckdb.DuckDBPyConnection:
        """Run one statement inside the transaction."""
        return self._cursor.execute(statement, parameters)

    def add(self, table: str, files: Sequence[Path]) -> None:
        """Append staged Parquet files to ``table`` (``schema.name``). The files move; nothing is copied.

        A table whose name cannot be a folder's has one that only DuckLake knows: it gets copies.
        Raises CuveeError if their columns do not fit the table.
        """
        import duckdb

        if not files:
            return
        schema, name = split_name(table)
        folder = table_folder(schema, name)
        try:
            if folder is None:
                rows = rows_of(*files, union=True)
                self._cursor.execute(f"insert into lake.{quote(schema)}.{quote(name)} by name select * from {rows}")
                return
            placed = [str(self._place(folder, file)) for file in files]
            self._cursor.execute(
                "call ducklake_add_data_files('lake', ?, ?, schema => ?, hive_partitioning => false)",
                [name, placed, schema],
            )
        except duckdb.Error as error:
            raise CuveeError(f"cannot add files to {table}: {error}") from error

    def replace(self, table: str, columns: str, files: Sequence[Path]) -> None:
        """Make ``table`` hold exactly ``files``. ``columns`` is a query that gives the table's columns and types."""
        name = ".".join(map(quote, split_name(table)))
        self._cursor.execute(f"create or replace table {name} as select * from ({columns}) where false")
        self.add(table, files)

    def pin(self, holder: str, snapshot_id: int) -> None:
        """Keep a snapshot from expiring for as long as ``holder`` (an export, a run) cites it."""
        self._cursor.execute("insert into cuvee.pins values (?, ?, now())", [snapshot_id, holder])

    def undo(self) -> None:
        """Put the files of a transaction that was rolled back where they were: another may be tried with them."""
        for staged, placed in self._moved:
            placed.rename(staged)

    def _place(self, folder: Path, file: Path) -> Path:
        """Move a staged file to the table's folder, durably: what a commit names must survive a power cut."""
        target = self._data / folder / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
        file.rename(target)
        self._moved.append((file, target))
        return target
