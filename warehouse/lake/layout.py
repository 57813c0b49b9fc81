"""The tables that every lake has, as ``tables.sql`` says. A lake of an earlier version gets what it lacks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warehouse.lake.commit import Commit

_TABLE = re.compile(r"create table if not exists (?P<name>\w+\.\w+) \((?P<columns>.*)\)", re.DOTALL)
_HAVE = "select schema_name || '.' || table_name, column_name from duckdb_columns() where database_name = 'lake'"
_PARTITIONED = """
select s.schema_name || '.' || t.table_name
from __ducklake_metadata_lake.ducklake_partition_info as p
join __ducklake_metadata_lake.ducklake_table as t on t.table_id = p.table_id and t.end_snapshot is null
join __ducklake_metadata_lake.ducklake_schema as s on s.schema_id = t.schema_id and s.end_snapshot is null
where p.end_snapshot is null
"""


@dataclass(frozen=True, slots=True)
class _Statement:
    text: str
    table: str | None
    columns: dict[str, str]


def update_tables(commit: Commit) -> bool:
    """Make the tables and columns that the lake lacks, and end partitions of an earlier version.

    Returns whether it lacked any. A column that is added has no values in rows that are there: ``tables.sql`` lets it
    be NULL.
    """
    have: dict[str, set[str]] = {}
    for table, column in commit.sql(_HAVE).fetchall():
        have.setdefault(table, set()).add(column)
    changes: list[str] = []
    for statement in _statements():
        if statement.table is None:
            changes += [] if have else [statement.text]
        elif statement.table not in have:
            changes.append(statement.text)
        else:
            changes += [
                f"alter table lake.{statement.table} add column {column} {kind}"
                for column, kind in statement.columns.items()
                if column not in have[statement.table]
            ]
    known = {statement.table for statement in _statements()}
    partitioned = [table for (table,) in commit.sql(_PARTITIONED).fetchall() if table in known]
    changes += [f"alter table lake.{table} reset partitioned by" for table in partitioned]
    for change in changes:
        commit.sql(change)
    return bool(changes)


@cache
def _statements() -> tuple[_Statement, ...]:
    return tuple(_read(Path(__file__).with_name("tables.sql").read_text(encoding="utf-8")))


def _read(script: str) -> Iterator[_Statement]:
    text = "\n".join(line for line in script.splitlines() if not line.lstrip().startswith("--"))
    for part in filter(None, map(str.strip, text.split(";"))):
        if found := _TABLE.fullmatch(part):
            columns = (line.strip().partition(" ") for line in found["columns"].split(",\n"))
            yield _Statement(part, found["name"], {name: kind for name, _, kind in columns})
        else:
            yield _Statement(part, None, {})
