"""What ``cuvee docs generate`` writes: dbt's ``catalog.json`` of the lake's relations, and a page about the project."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from warehouse.artifacts.invocation import Invocation, metadata, write_artifact
from warehouse.graph.loaded_project import LoadedProject
from warehouse.graph.step import Step
from warehouse.lake.catalog import rows
from warehouse.project.relation import LAKE
from warehouse.project.results import TESTS

PAGE = "index.html"
_KINDS = ("model", "seed", "snapshot", "source")
_COLUMNS = """
select lower(schema_name || '.' || table_name), column_name, data_type
from duckdb_columns() where database_name = 'lake' order by column_index
"""


def write_catalog(opened: LoadedProject, call: Invocation) -> dict[str, Any]:
    """Write ``catalog.json``, version 1: the project's relations in the lake. Returns its content. Raises OSError."""
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
    content = {"metadata": metadata("catalog/v1", call), **found, "errors": None}
    write_artifact(call.folder / "catalog.json", content)
    return content


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


def write_page(opened: LoadedProject, catalog: dict[str, Any], folder: Path) -> Path:
    """Write the page into ``folder``. Returns its path. Raises OSError."""
    content = {"project": opened.renderer.project.name, "nodes": _nodes(opened, catalog)}
    # "</script>" inside a model's SQL must not end the script that holds it.
    data = json.dumps(content, ensure_ascii=False, default=str).replace("<", "\\u003c")
    page = resources.files("warehouse.artifacts").joinpath("docs.html").read_text(encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PAGE).write_text(page.replace("/*PROJECT*/null", data), encoding="utf-8")
    return folder / PAGE


def _nodes(opened: LoadedProject, catalog: dict[str, Any]) -> list[dict[str, Any]]:
    steps = opened.graph.steps
    found = {**catalog["nodes"], **catalog["sources"]}
    nodes = []
    for key in opened.graph.order():
        step = steps[key]
        if step.node.kind not in _KINDS:
            continue
        there = found.get(key, {"columns": {}, "stats": {}})
        described = {column.name.lower(): column for column in step.node.columns}
        names = list(there["columns"]) or [column.name for column in step.node.columns]
        below = [steps[each] for each in dict.fromkeys(opened.graph.children[key])]
        tests = [each for each in below if each.kind in TESTS]
        nodes.append({
            "id": key,
            "name": f"{step.node.source_name}.{step.name}" if step.kind == "source" else step.name,
            "kind": step.kind,
            "package": step.node.package,
            "path": step.node.path,
            "relation": step.relation.key if step.relation and not step.relation.is_cte else None,
            "rows": there["stats"].get("num_rows", {}).get("value"),
            "tags": list(step.node.config.get("tags") or ()),
            "description": step.node.description,
            "columns": [
                {
                    "name": name,
                    "type": there["columns"].get(name, {}).get("type"),
                    "description": described[name.lower()].description if name.lower() in described else "",
                    "tests": [
                        each.node.test.name for each in tests
                        if each.node.test and each.node.attached == key
                        and (each.node.test.column or "").strip('"').lower() == name.lower()
                    ],
                }
                for name in names
            ],
            "tests": [each.name for each in tests],
            "template": step.node.text.strip() if step.node.kind in ("model", "snapshot") else "",
            "sql": step.sql,
            "up": list(step.parents),
            "down": [each.id for each in below if each.node.kind in _KINDS],
        })  # fmt: skip
    return nodes
