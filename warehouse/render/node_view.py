"""A project's nodes as templates see them: ``model``, ``graph.nodes``, the ``node`` of generate_schema_name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

from udfs.errors import CuveeError
from warehouse.project.project import Node, groups
from warehouse.project.properties import ColumnProperties
from warehouse.project.relation import LAKE
from warehouse.project.results import TESTS, NodeResult
from warehouse.render.rendering import Resolver


def versioned(node: Node) -> str:
    """Return the name of a node, with its version if it has one: the default name of its table."""
    return f"{node.name}_v{str(node.version).replace('.', '_')}" if node.version is not None else node.name


def describe(renderer: Resolver, node: Node, config: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a node that has no relation yet, under the names of dbt's manifest."""
    first = node.fqn[1:-1] if node.kind != "source" else node.fqn[1:-2]
    file = node.path.rpartition("/")[2]
    tags, meta = list(config.get("tags") or []), dict(config.get("meta") or {})
    return {
        "name": node.name,
        "unique_id": node.id,
        "resource_type": node.kind,
        "package_name": node.package,
        "fqn": list(node.fqn),
        "path": "/".join((*first, file)),
        "original_file_path": node.path,
        "alias": config.get("alias") or versioned(node),
        "config": dict(config),
        "unrendered_config": dict(node.config),
        "description": node.description,
        "columns": {column.name: _column(column) for column in node.columns},
        "tags": tags,
        "meta": meta,
        "language": "sql",
        "raw_code": node.text,
        "checksum": {"name": "sha256", "checksum": sha256(node.text.encode()).hexdigest()},
        "version": node.version,
        "latest_version": node.latest_version,
        "group": config.get("group"),
        "access": config.get("access", "protected"),
        "database": LAKE,
    }


def described(renderer: Resolver, node: Node) -> dict[str, Any]:
    """Describe a node with its relation and, once it is rendered, its dependencies."""
    config = renderer.final_config(node)
    known = describe(renderer, node, config)
    rendered = renderer.rendered(node)
    refs = list(rendered.refs) if rendered else []
    known["depends_on"] = {"nodes": refs, "macros": [f"macro.{name}" for name in rendered.macros] if rendered else []}
    if node.kind in TESTS:
        return known | {"schema": renderer.target.schema, "attached_node": node.attached}
    relation = renderer.relation(node)
    known |= {"schema": relation.schema, "relation_name": None if relation.is_cte else relation.render()}
    if node.kind == "source":
        known |= {"source_name": node.source_name, "identifier": node.identifier}
    else:
        known["config"].setdefault("materialized", "seed" if node.kind == "seed" else "view")
    return known


_STATUS = {"built": "success", "unchanged": "success", "limited": "skipped"}


def ran(renderer: Resolver, node: Node, result: NodeResult) -> dict[str, Any]:
    """Return a node's entry in ``results`` of on-run-end, under dbt's names. An unchanged test is ``pass``."""
    test = result.kind in TESTS
    status = (result.message or "pass") if test and result.status == "unchanged" else result.status
    return {
        "node": described(renderer, node),
        "unique_id": node.id,
        "status": status if test else _STATUS.get(status, status),
        "message": result.message or None,
        "failures": result.rows if test else None,
        "execution_time": result.seconds,
        "thread_id": "MainThread",
        "timing": [],
        "adapter_response": {} if test or result.rows is None else {"rows_affected": result.rows},
    }


class GraphView:
    """The project as templates see it."""

    def __init__(self, renderer: Resolver) -> None:
        self._renderer = renderer
        self.metrics: dict[str, Any] = {}
        self.semantic_models: dict[str, Any] = {}
        self.saved_queries: dict[str, Any] = {}

    @property
    def nodes(self) -> dict[str, Any]:
        return self._all("model", "seed", "snapshot", "test")

    @property
    def sources(self) -> dict[str, Any]:
        return self._all("source")

    @property
    def exposures(self) -> dict[str, Any]:
        exposures = self._renderer.project.of_kind("exposure")
        return {node.id: describe(self._renderer, node, node.config) for node in exposures}

    @property
    def groups(self) -> dict[str, Any]:
        return groups(self._renderer.project)

    def _all(self, *kinds: str) -> dict[str, Any]:
        found = {}
        for node in self._renderer.project.of_kind(*kinds):
            try:
                if self._renderer.enabled(replace(node, config=self._renderer.final_config(node))):
                    found[node.id] = described(self._renderer, node)
            except CuveeError:
                continue  # its own mistake, reported where it is rendered
        return found

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)


def _column(column: ColumnProperties) -> dict[str, Any]:
    return {
        "name": column.name,
        "description": column.description,
        "data_type": column.data_type,
        "quote": column.quote or None,
        "tags": [],
        "meta": {},
    }
