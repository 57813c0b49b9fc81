"""The state of nodes: one row of ``cuvee.nodes`` per build of a node. The last one counts.

The row is written in the same commit as the table it speaks of, so the two never disagree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from warehouse.graph.step import values_digest

if TYPE_CHECKING:
    import duckdb

    from warehouse.lake.commit import Commit

#: The columns of the state table before ``built_at``, and their types.
_COLUMNS = {
    "node": "VARCHAR",
    "relation": "VARCHAR",
    "kind": "VARCHAR",
    "status": "VARCHAR",
    "fingerprint": "VARCHAR",
    "parts": "VARCHAR",
    "sql": "VARCHAR",
    "rows": "BIGINT",
    "seconds": "DOUBLE",
}
_ROWS = json.dumps([_COLUMNS])

#: Every commit of a build adds a small file to the state table; beyond this many they are merged into one.
_FILES = 48


@dataclass(frozen=True, slots=True)
class NodeFingerprint:
    """The fingerprint of a node by its parts, so that a plan can say which part is different now.

    ``definition`` covers everything but data: SQL, config, and the definitions of what the node reads. ``inputs``
    maps each thing read to its version: a fingerprint for what the project builds, else the lake's own count.
    """

    text: str
    sql: str
    config: str
    definition: str
    macros: Mapping[str, str]
    functions: Mapping[str, str]
    inputs: Mapping[str, str]
    partial: str = ""  # the option by which only a part was built: --empty, --sample

    @property
    def fingerprint(self) -> str:
        """Return a digest that changes whenever the node's rows may change."""
        return values_digest(
            self.sql, self.config, self.functions, self.inputs, *([self.partial] if self.partial else [])
        )


@dataclass(frozen=True, slots=True)
class Built:
    """The last build of a node."""

    node: str
    relation: str
    kind: str
    status: str
    fingerprint: str
    parts: NodeFingerprint
    sql: str
    rows: int | None
    seconds: float


def read(cursor: duckdb.DuckDBPyConnection) -> dict[str, Built]:
    """Return the last build of each node by ``key``."""
    rows = cursor.execute(
        f"select {', '.join(_COLUMNS)} from lake.cuvee.nodes"
        " qualify row_number() over (partition by node, relation order by built_at desc, fingerprint) = 1"
    ).fetchall()
    found = (dict(zip(_COLUMNS, row, strict=True)) for row in rows)
    builds = [Built(**each | {"parts": NodeFingerprint(**json.loads(each["parts"]))}) for each in found]
    return {key(each.node, each.relation): each for each in builds}


def key(node: str, relation: str) -> str:
    """Return the key of a node in ``read``. Another target's schema is another relation."""
    return f"{node}@{relation}"


def compact(commit: Commit) -> None:
    """Inside a commit, rewrite the state table if it has many files: every build adds some."""
    count = commit.sql(
        "select count(*) from __ducklake_metadata_lake.ducklake_data_file as f"
        " join __ducklake_metadata_lake.ducklake_table as t using (table_id)"
        " join __ducklake_metadata_lake.ducklake_schema as s on s.schema_id = t.schema_id"
        " where s.schema_name = 'cuvee' and t.table_name = 'nodes' and f.end_snapshot is null"
        " and t.end_snapshot is null"
    ).fetchone()
    if count and count[0] >= _FILES:
        commit.sql(
            "create or replace table lake.cuvee.nodes as select * from lake.cuvee.nodes"
            " qualify row_number() over (partition by node, relation order by built_at desc) = 1"
        )


def write(commit: Commit, rows: Sequence[Built]) -> None:
    """Add rows inside a commit."""
    # One parameter for all: DuckDB looks for pandas at each, which takes 0.12 ms where pandas is not installed.
    values = json.dumps([_plain(row) for row in rows])
    commit.sql(
        f"insert into lake.cuvee.nodes select r.*, ?::timestamptz from (select unnest(from_json(?, '{_ROWS}')) as r)",
        [datetime.now(UTC).isoformat(), values],
    )


def _plain(row: Built) -> dict[str, Any]:
    body = json.dumps(asdict(row.parts), sort_keys=True)
    return {name: body if name == "parts" else getattr(row, name) for name in _COLUMNS}
