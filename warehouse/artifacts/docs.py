"""A page about the project: its models with their columns, tests, SQL and neighbours, in one file without a server."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from warehouse.graph.loaded_project import LoadedProject
from warehouse.project.results import TESTS

PAGE = "index.html"
_KINDS = ("model", "seed", "snapshot", "source")


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
