"""The documents that are kept out of the lake, because they were forgotten."""

from __future__ import annotations

from warehouse.lake.data_files import Execute

#: One row is a text that stays out (doc_id alone), an occurrence (all three), or a file whose rejected records went.
FORGOTTEN = "cuvee.forgotten"


def forgotten(execute: Execute) -> str | None:
    """Return a query for the doc_ids that are kept out, or None if there are none."""
    schema, name = FORGOTTEN.split(".")
    there = "select 1 from duckdb_tables() where database_name = 'lake' and schema_name = ? and table_name = ?"
    if execute(there, [schema, name]).fetchone() is None:
        return None
    return f"select doc_id from lake.{FORGOTTEN} where file_id is null"
