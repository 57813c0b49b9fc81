"""Keep the bounds of columns in a lake's catalog wide enough, by triggers of the catalog itself.

DuckLake remembers the smallest and the largest value of each column, by file and by table, and leaves out what cannot
match a filter. Two things make the bounds of a table too narrow (tried with 1.5.5):

- A file has values but no bounds: Arrow writes none for values over 4,096 bytes, no writer for a row group of NULLs.
  The table's bounds become NULL, which the next commit reads as "no values yet": its own bounds become the table's.
- A rewrite without deleted rows computes the bounds again, and earlier snapshots still have those rows.

The triggers are part of each commit, by any program. Bounds that are not known are marked: DuckLake takes a column
with ``extra_stats`` for one with values, and those of plain types are not read.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

_UNKNOWN = "update ducklake_table_column_stats set min_value = null, max_value = null, extra_stats = '{}'"
_UNMARKED = "new.min_value is null and new.max_value is null and new.extra_stats is null"

_TRIGGERS = {
    "cuvee_no_bounds_yet": f"""
        after insert on ducklake_table_column_stats when {_UNMARKED}
        begin {_UNKNOWN} where rowid = new.rowid; end
    """,
    "cuvee_no_bounds": f"""
        after update on ducklake_table_column_stats when {_UNMARKED}
        begin {_UNKNOWN} where rowid = new.rowid; end
    """,
    # A commit writes the number of rows first, the bounds of columns afterwards. Only a rewrite lowers the number.
    "cuvee_rewritten": """
        after update of record_count on ducklake_table_stats when new.record_count < old.record_count
        begin insert into cuvee_rewritten_tables values (new.table_id); end
    """,
    "cuvee_written": """
        after update of record_count on ducklake_table_stats when new.record_count >= old.record_count
        begin delete from cuvee_rewritten_tables where table_id = new.table_id; end
    """,
    "cuvee_bounds_of_earlier_rows": f"""
        after update on ducklake_table_column_stats
        when (new.min_value is not old.min_value or new.max_value is not old.max_value)
            and new.table_id in (select table_id from cuvee_rewritten_tables)
        begin {_UNKNOWN} where rowid = new.rowid; end
    """,
}

#: DuckLake keeps bounds by the number of the next file. Another number makes every process read them again.
READ_AGAIN = """
update ducklake_snapshot set next_file_id = next_file_id + 1
where snapshot_id = (select max(snapshot_id) from ducklake_snapshot)
"""


def is_guarded(catalog: Path) -> bool | None:
    """Tell whether a catalog has the triggers; None if DuckLake has made no tables in it yet. Raises sqlite3.Error."""
    with contextlib.closing(sqlite3.connect(catalog)) as connection:
        names = {name for (name,) in connection.execute("select name from sqlite_master")}
    return names >= _TRIGGERS.keys() if "ducklake_table_column_stats" in names else None


def guard(catalog: Path) -> None:
    """Give a catalog the triggers. What its tables' bounds were before is not known to be true, so it is forgotten.

    The lake's lock must be held, and DuckDB must not have the catalog open in this process. Raises sqlite3.Error.
    """
    with contextlib.closing(sqlite3.connect(catalog, timeout=60, isolation_level=None)) as connection:
        connection.execute("begin immediate")
        connection.execute("create table if not exists cuvee_rewritten_tables (table_id bigint)")
        for name, body in _TRIGGERS.items():
            connection.execute(f"create trigger if not exists {name} {body}")
        connection.execute(f"{_UNKNOWN} where extra_stats is null")
        connection.execute(READ_AGAIN)
        connection.execute("commit")
