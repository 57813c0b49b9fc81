"""The data files that a lake's catalog names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

#: Runs a statement; what it returns has ``fetchall`` (a cursor's ``execute``, a commit's ``sql``).
Execute = Callable[..., Any]

if TYPE_CHECKING:
    from warehouse.lake.lake import Lake


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file of a table (``schema.name``). It belongs to the snapshots from ``begin`` on, before ``end``."""

    table: str
    path: Path
    rows: int
    begin: int
    end: int | None


def data_files(lake: Lake, execute: Execute) -> Iterator[DataFile]:
    """Yield every file that some snapshot still names, of deleted tables and earlier versions too."""
    for table, path, relative, schema_path, table_path, count, begin, end in execute(
        """
        select s.schema_name || '.' || t.table_name, f.path, f.path_is_relative, s.path, t.path,
            f.record_count, f.begin_snapshot, f.end_snapshot
        from __ducklake_metadata_lake.ducklake_data_file as f
        join (
            select table_id, max_by(schema_id, begin_snapshot) as schema_id,
                   max_by(table_name, begin_snapshot) as table_name, max_by(path, begin_snapshot) as path
            from __ducklake_metadata_lake.ducklake_table group by table_id
        ) as t on t.table_id = f.table_id
        join __ducklake_metadata_lake.ducklake_schema as s on s.schema_id = t.schema_id
        order by f.data_file_id
        """
    ).fetchall():
        place = lake.data / schema_path / table_path / path if relative else Path(path)
        yield DataFile(table=table, path=place, rows=int(count), begin=begin, end=end)
