"""Read Parquet files of our own in SQL: what is in a file, and nothing that its path may look like.

DuckDB takes ``key=value`` folders anywhere in a path for columns, which take the place of the file's own: in a lake
below ``date=2024-01-01/`` every row has that date.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from warehouse.lake.quoting import literal


def rows_of(*files: Path | str, names: bool = False, numbers: bool = False, union: bool = False) -> str:
    """Return the relation of the rows of files, for a FROM clause.

    It also has ``filename`` with ``names``, and ``file_row_number`` with ``numbers``. With ``union``, files may have
    different columns.
    """
    options = {"filename": names, "file_row_number": numbers, "union_by_name": union}
    asked = "".join(f", {name} => true" for name, wanted in options.items() if wanted)
    return f"read_parquet([{_listed(files)}], hive_partitioning => false{asked})"


def _listed(files: Iterable[Path | str]) -> str:
    return ", ".join(map(literal, files))
