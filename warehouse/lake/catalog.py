"""What a lake's catalog tells without opening a data file: versions of tables, data files, what is kept out.

A table's version changes with its rows and with nothing else: it counts the rows ever added and the rows there are
now. Compaction changes neither, nor does the expiry of snapshots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warehouse.lake.lake import Lake

if TYPE_CHECKING:
    import duckdb

#: Runs a statement; what it returns has ``fetchall`` (a cursor's ``execute``, a commit's ``sql``).
Execute = Callable[..., Any]

#: One row is a text that stays out (doc_id alone), an occurrence (all three), or a file whose rejected records went.
FORGOTTEN = "cuvee.forgotten"

#: Name (``schema.name``, lower case), kind (``table`` or ``view``), version. Runs in DuckDB and in SQLite alike;
#: ``catalog`` is the prefix of the catalog's tables.
QUERY = """
select lower(s.schema_name || '.' || t.table_name), 'table',
       cast(t.table_uuid as text) || ':' || cast(coalesce(max(st.next_row_id), 0) as text) || ':'
       || cast(cast(coalesce(sum(f.record_count), 0) - coalesce(sum(d.delete_count), 0) as bigint) as text)
from {catalog}ducklake_table as t
join {catalog}ducklake_schema as s on s.schema_id = t.schema_id and s.end_snapshot is null
left join {catalog}ducklake_table_stats as st on st.table_id = t.table_id
left join {catalog}ducklake_data_file as f on f.table_id = t.table_id and f.end_snapshot is null
left join {catalog}ducklake_delete_file as d on d.data_file_id = f.data_file_id and d.end_snapshot is null
where t.end_snapshot is null
group by s.schema_name, t.table_name, t.table_uuid
union all
select lower(s.schema_name || '.' || v.view_name), 'view', cast(v.view_uuid as text)
from {catalog}ducklake_view as v
join {catalog}ducklake_schema as s on s.schema_id = v.schema_id and s.end_snapshot is null
where v.end_snapshot is null
"""


def versions(cursor: duckdb.DuckDBPyConnection) -> dict[str, tuple[str, str]]:
    """Return every table and view of the lake as ``schema.name`` → (``table`` or ``view``, version)."""
    rows = cursor.execute(QUERY.format(catalog="__ducklake_metadata_lake.")).fetchall()
    return {name: (kind, version) for name, kind, version in rows}


def rows(version: str) -> int:
    """Return how many rows a table of this version has."""
    return int(version.rpartition(":")[2])


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


def forgotten(execute: Execute) -> str | None:
    """Return a query for the doc_ids that are kept out, or None if there are none."""
    schema, name = FORGOTTEN.split(".")
    there = "select 1 from duckdb_tables() where database_name = 'lake' and schema_name = ? and table_name = ?"
    if execute(there, [schema, name]).fetchone() is None:
        return None
    return f"select doc_id from lake.{FORGOTTEN} where file_id is null"
