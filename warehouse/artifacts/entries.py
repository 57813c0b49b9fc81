"""The manifest's entries of unit tests, exposures and docs blocks, in dbt's shape. They are not built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from warehouse.project.properties import listed
from warehouse.project.unit_properties import Rows

if TYPE_CHECKING:
    from warehouse.graph.step import Step
    from warehouse.project.project import Node, Project
    from warehouse.render.renderer import Renderer


def unit_test(step: Step, common: Mapping[str, Any], schema: str) -> dict[str, Any]:
    """Return the entry of a unit test. ``common`` is what every entry has, ``schema`` that of the target."""
    unit = step.node.unit
    assert unit is not None
    given = [{"input": each.input, **_rows(each.rows)} for each in unit.given]
    macros = {name: _rows(said) if isinstance(said, Rows) else said for name, said in unit.macros.items()}
    overrides = {"macros": macros, "vars": dict(unit.vars), "env_vars": dict(unit.env_vars)}
    stated = {
        "model": unit.model,
        "given": given,
        "expect": _rows(unit.expect),
        "overrides": overrides if any(overrides.values()) else None,
    }
    return {
        **_named(common),
        **stated,
        "description": step.node.description,
        "depends_on": {"macros": [], "nodes": list(step.parents)},
        "config": _config(step) | {"static_analysis": None},
        "checksum": sha256(json.dumps(stated, default=str, sort_keys=True).encode()).hexdigest(),
        "schema": schema,
        "versions": None,
        "version": None,
    }


def exposure(step: Step, common: Mapping[str, Any], renderer: Renderer) -> dict[str, Any]:
    """Return the entry of an exposure. ``common`` is what every entry has."""
    node = step.node
    stated = node.exposure
    assert stated is not None
    config = _config(step)
    return {
        **_named(common),
        "type": stated.type,
        "owner": {"email": None, "name": None, **stated.owner},
        "description": node.description,
        "label": stated.label,
        "maturity": stated.maturity,
        "meta": config["meta"],
        "tags": config["tags"],
        "config": config,
        "unrendered_config": dict(node.config),
        "url": stated.url,
        "depends_on": {"macros": [], "nodes": sorted(step.parents, key=lambda key: not key.startswith("source."))},
        "refs": [ref(key, node, renderer) for key in step.parents if not key.startswith("source.")],
        "sources": [key.split(".", 2)[2].split(".", 1) for key in step.parents if key.startswith("source.")],
        "metrics": [],
    }


def docs(project: Project) -> dict[str, Any]:
    """Return the entries of docs blocks."""
    return {
        f"doc.{block.package}.{block.name}": {
            "name": block.name,
            "resource_type": "doc",
            "package_name": block.package,
            "path": "/".join(PurePosixPath(block.where.path).parts[1:]),
            "original_file_path": block.where.path,
            "unique_id": f"doc.{block.package}.{block.name}",
            "block_contents": block.text,
        }
        for block in project.docs.values()
    }


def ref(key: str, node: Node, renderer: Renderer) -> dict[str, Any]:
    """Return the shortest ref that finds ``key``."""
    named = renderer.project.nodes[key]
    version = None if named.version == named.latest_version else named.version
    plain = renderer.project.find(named.name, None, node.package, version)
    package = None if plain is not None and plain.id == key else named.package
    return {"name": named.name, "package": package, "version": version}


def same_exposure(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return whether two entries declare the same; descriptions, tags and config aside, as in dbt."""
    names = ("fqn", "type", "owner", "maturity", "url", "label", "depends_on")
    return all(_texts(old.get(name)) == _texts(new.get(name)) for name in names)


def same_unit_test(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return whether two entries state the same test.

    dbt puts rows without NULLs first, so their order says nothing; and it writes down the rows of a seed that is given
    as it is, which are not part of the test.
    """
    seeds = {each["input"] for each in new["given"] if each["rows"] is None}
    return _plain(old, seeds) == _plain(new, seeds)


def _plain(entry: Mapping[str, Any], seeds: set[str]) -> list[Any]:
    def rows(said: Mapping[str, Any]) -> Any:
        if said.get("input") in seeds:
            return None
        return sorted(map(repr, map(_texts, said["rows"]))) if isinstance(said["rows"], list) else said["rows"]

    given = {each["input"]: rows(each) for each in entry["given"]}
    overrides = entry.get("overrides") or {}
    said = [overrides.get(name) or {} for name in ("macros", "vars", "env_vars")]
    return [given, rows(entry["expect"]), _texts(said)]


def _texts(value: Any) -> Any:
    """Return a value for JSON, with types that JSON lacks (dates) as text."""
    return json.loads(json.dumps(value, default=str, sort_keys=True))


def _rows(said: Rows) -> dict[str, Any]:
    rows = said.sql if said.sql is not None else [dict(row) for row in said.rows] if said.rows is not None else None
    return {"rows": rows, "format": said.format, "fixture": said.fixture}


def _named(common: Mapping[str, Any]) -> dict[str, Any]:
    names = ("name", "resource_type", "package_name", "original_file_path", "unique_id", "fqn", "created_at")
    path = PurePosixPath(common["original_file_path"])
    return {name: common[name] for name in names} | {"path": "/".join(path.parts[1:])}


def _config(step: Step) -> dict[str, Any]:
    config = step.node.config
    return {"enabled": True, "tags": listed(config.get("tags")), "meta": dict(config.get("meta") or {})}
