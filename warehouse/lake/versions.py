"""The version of every table in the lake, from its catalog alone.

A table's version changes with its rows and with nothing else: it counts the rows ever added and the rows there are
now. Compaction changes neither, nor does the expiry of snapshots. No data file is opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

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
