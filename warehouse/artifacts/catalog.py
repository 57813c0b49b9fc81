"""dbt's ``catalog.json``: the columns that the lake's relations have, their types, and how many rows they hold."""

from __future__ import annotations

from typing import Any

from warehouse.artifacts.invocation import Invocation, metadata, write_artifact
from warehouse.graph.loaded_project import LoadedProject
from warehouse.graph.step import Step
from warehouse.lake.versions import rows
from warehouse.project.relation import LAKE

CATALOG = "catalog.json"

_COLUMNS = """
select lower(schema_name || '.' || table_name), column_name, data_type
from duckdb_columns() where database_name = 'lake' order by column_index
"""


def write_catalog(opened: LoadedProject, call: Invocation) -> dict[str, Any]:
    """Write ``catalog.json`` and return its content. Raises OSError."""
    content = catalog(opened, call)
    write_artifact(call.folder / CATALOG, content)
    return content


def catalog(opened: LoadedProject, call: Invocation) -> dict[str, Any]:
    """Return the project's relations in the lake, in the shape of dbt's catalog, version 1."""
    opened.database.refresh()
    cursor = opened.database.cursor
    columns: dict[str, list[tuple[str, str]]] = {}
    for relation, name, kind in cursor.execute(_COLUMNS).fetchall():
        columns.setdefault(relation, []).append((name, kind))
    found: dict[str, dict[str, Any]] = {"nodes": {}, "sources": {}}
    for key, step in opened.graph.steps.items():
        if step.relation is None or step.relation.is_cte or step.relation.key not in opened.database.relations:
            continue
        kind, version = opened.database.relations[step.relation.key]
        entry = _entry(step, kind, columns.get(step.relation.key, []), rows(version) if kind == "table" else None)
        found["sources" if step.kind == "source" else "nodes"][key] = entry
    return {"metadata": metadata("catalog/v1", call), **found, "errors": None}


def _entry(step: Step, kind: str, columns: list[tuple[str, str]], count: int | None) -> dict[str, Any]:
    assert step.relation is not None
    comments = {column.name.lower(): column.description or None for column in step.node.columns}
    stats = {
        "has_stats": {
            "id": "has_stats", "label": "Has Stats?", "value": count is not None, "include": False,
            "description": "Indicates whether there are statistics for this table",
        }
    }  # fmt: skip
    if count is not None:
        stats["num_rows"] = {
            "id": "num_rows", "label": "Rows", "value": count, "include": True,
            "description": "Rows in the lake",
        }  # fmt: skip
    return {
        "metadata": {
            "type": "VIEW" if kind == "view" else "BASE TABLE",
            "schema": step.relation.schema,
            "name": step.relation.identifier,
            "database": LAKE,
            "comment": step.node.description or None,
            "owner": None,
        },
        "columns": {
            name: {"type": kind, "index": index, "name": name, "comment": comments.get(name.lower())}
            for index, (name, kind) in enumerate(columns, 1)
        },
        "stats": stats,
        "unique_id": step.id,
    }
