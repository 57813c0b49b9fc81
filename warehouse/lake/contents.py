"""Compare what a lake's files hold with what its catalog says of them."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from warehouse.lake.catalog import DataFile
from warehouse.lake.lake import Lake

#: Columns of tables that have bounds.
_BOUNDS = """
from __ducklake_metadata_lake.ducklake_table_column_stats as st
join __ducklake_metadata_lake.ducklake_column as c
    on c.table_id = st.table_id and c.column_id = st.column_id and c.end_snapshot is null
where (st.min_value is not null or st.max_value is not null)
"""
#: Bounds of columns of one type that leave out a live file's, with one such file.
_NARROW = """
with bounds as (select st.*, c.column_name {bounds} and c.column_type = $1)
select s.schema_name || '.' || t.table_name, b.column_name, min(f.path)
from bounds as b
join __ducklake_metadata_lake.ducklake_table as t on t.table_id = b.table_id and t.end_snapshot is null
join __ducklake_metadata_lake.ducklake_schema as s on s.schema_id = t.schema_id and s.end_snapshot is null
join __ducklake_metadata_lake.ducklake_file_column_stats as fs
    on fs.table_id = b.table_id and fs.column_id = b.column_id
join __ducklake_metadata_lake.ducklake_data_file as f on f.data_file_id = fs.data_file_id and f.end_snapshot is null
where fs.value_count > 0 and (
    (b.min_value is not null and fs.min_value is null) or (b.max_value is not null and fs.max_value is null)
    or try_cast(fs.min_value as {kind}) < try_cast(b.min_value as {kind})
    or try_cast(fs.max_value as {kind}) > try_cast(b.max_value as {kind})
)
group by all order by all
"""
#: Data files with several live delete files.
_DELETES = """
select s.schema_name || '.' || t.table_name, f.path, count(*)
from __ducklake_metadata_lake.ducklake_delete_file as d
join __ducklake_metadata_lake.ducklake_data_file as f using (data_file_id)
join __ducklake_metadata_lake.ducklake_table as t on t.table_id = f.table_id and t.end_snapshot is null
join __ducklake_metadata_lake.ducklake_schema as s on s.schema_id = t.schema_id and s.end_snapshot is null
where d.end_snapshot is null group by all having count(*) > 1
"""
#: DuckLake's names of types that are none of DuckDB's.
_TYPES = {
    **{
        f"{sign}int{bits}": f"{sign}{kind}"
        for sign in ("", "u")
        for bits, kind in ((8, "tinyint"), (16, "smallint"), (32, "integer"), (64, "bigint"))
    },
    "float32": "float",
    "float64": "double",
    "json": "varchar",
}


def wrong_bounds(lake: Lake) -> Iterator[tuple[str, str, str]]:
    """Yield table, file and problem: bounds of a table narrower than those of its files, doubled delete files."""
    cursor = lake.cursor()
    for table, path, count in cursor.execute(_DELETES).fetchall():
        yield table, path, f"{count} live delete files, where one is the most"
    for (found,) in cursor.execute(f"select distinct c.column_type {_BOUNDS}").fetchall():
        kind = _TYPES.get(found.lower(), found)
        if kind.lower() == "blob":  # its bounds are not compared with anything
            continue
        for table, column, path in cursor.execute(_NARROW.format(bounds=_BOUNDS, kind=kind), [found]).fetchall():
            yield table, path, f"the catalog's bounds of {column} for the table leave out rows of this file"


def wrong_contents(file: DataFile) -> str | None:
    """Read a data file whole; say what is wrong with it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file.path, page_checksum_verification=True) as parquet:
            for batch in parquet.iter_batches(4096):
                if file.table != "raw.documents":
                    continue
                for doc_id, text in zip(batch["doc_id"].to_pylist(), batch["text"].to_pylist(), strict=True):
                    if sha256(text.encode()).hexdigest()[:32] != doc_id:
                        return f"the text of {doc_id} is another one"
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        return f"cannot be read: {error}"
    return None
