"""``manifest.json``: the project as it was read and rendered, in the shape of dbt's (schema v12).

It has the fields that tools read; dbt itself accepts it as a ``--state``. Edges that only the graph knows, because a
model named a table without ``ref``, are not in it: dbt has no word for them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import md5, sha256
from typing import TYPE_CHECKING, Any

from warehouse.artifacts import entries
from warehouse.artifacts.invocation import MANIFEST, Invocation, metadata, write_artifact
from warehouse.project.project import Project, groups
from warehouse.project.properties import listed, test_alias, test_kwargs, tested_template
from warehouse.project.relation import LAKE
from warehouse.render.generic_tests import test_macro

if TYPE_CHECKING:
    from warehouse.graph.loaded_project import LoadedProject
    from warehouse.graph.step import Step
    from warehouse.project.project import Node
    from warehouse.render.renderer import Renderer
    from warehouse.render.templates import Library, Macro

#: Where entries go by their kind; all others are nodes.
_SECTIONS = {"source": "sources", "unit_test": "unit_tests", "exposure": "exposures"}
#: A seed up to this size has dbt's checksum; above, dbt takes none, and the digest of the bytes is used.
_LARGE_SEED = 1 << 20
_CALLS = re.compile(r"\b(\w+)\s*\(")
_SHOWN = {"show": True, "node_color": None}
_NO_FRESHNESS = {
    "warn_after": {"count": None, "period": None}, "error_after": {"count": None, "period": None}, "filter": None,
}  # fmt: skip
#: What dbt's nodes carry where nothing is set.
_CONFIG: dict[str, Any] = {
    "enabled": True, "alias": None, "schema": None, "database": None, "tags": [], "meta": {}, "group": None,
    "materialized": "view", "incremental_strategy": None, "persist_docs": {}, "post-hook": [], "pre-hook": [],
    "quoting": {}, "column_types": {}, "full_refresh": None, "unique_key": None, "on_schema_change": "ignore",
    "on_configuration_change": "apply", "grants": {}, "packages": [], "docs": _SHOWN,
    "contract": {"enforced": False, "alias_types": True}, "event_time": None,
}  # fmt: skip
_TEST_CONFIG: dict[str, Any] = {
    "enabled": True, "alias": None, "schema": "dbt_test__audit", "database": None, "tags": [], "meta": {},
    "group": None, "materialized": "test", "severity": "ERROR", "store_failures": None, "store_failures_as": None,
    "where": None, "limit": None, "fail_calc": "count(*)", "warn_if": "!= 0", "error_if": "!= 0",
}  # fmt: skip


def write_manifest(opened: LoadedProject, call: Invocation) -> None:
    """Write ``manifest.json`` for the whole project. Raises OSError."""
    write_artifact(call.folder / MANIFEST, manifest(opened, call))


def manifest(opened: LoadedProject, call: Invocation) -> dict[str, Any]:
    """Return the project in the shape of dbt's manifest, version 12."""
    renderer = opened.renderer
    sections: dict[str, dict[str, Any]] = {section: {} for section in ("nodes", "unit_tests", "exposures", "sources")}
    for key, step in opened.graph.steps.items():
        sections[_SECTIONS.get(step.kind, "nodes")][key] = _entry(step, renderer, call)
    macros = {
        f"macro.{package}.{name}": _macro(macro, renderer, call)
        for package, found in renderer.library.macros.items()
        for name, macro in found.items()
    }
    project_name = renderer.project.name
    return {
        "metadata": {
            **metadata("manifest/v12", call),
            "project_name": project_name,
            "project_id": md5(project_name.encode(), usedforsecurity=False).hexdigest(),
            "user_id": None,
            "send_anonymous_usage_stats": False,
            "adapter_type": "duckdb",
            "quoting": {"database": True, "schema": True, "identifier": True, "column": None},
        },
        **sections,
        "macros": macros,
        "docs": entries.docs(renderer.project),
        "metrics": {},
        "groups": groups(renderer.project),
        "selectors": {},
        "disabled": {},
        **_neighbours({key: entry for section in sections.values() for key, entry in section.items()}),
        "group_map": {},
        "saved_queries": {},
        "semantic_models": {},
        "functions": {},
    }


def _entry(step: Step, renderer: Renderer, call: Invocation) -> dict[str, Any]:
    if step.kind == "source":
        return _source(step, renderer, call)
    if step.kind == "unit_test":
        return entries.unit_test(step, _common(step.node, renderer, call), renderer.target.schema)
    if step.kind == "exposure":
        return entries.exposure(step, _common(step.node, renderer, call), renderer)
    return _node(step, renderer, call)


def _neighbours(found: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, list[str]]]:
    """Return the maps from each entry to its parents, and to its children."""
    parents = {key: sorted(entry.get("depends_on", {}).get("nodes", ())) for key, entry in found.items()}
    children: dict[str, list[str]] = {key: [] for key in parents}
    for key, above in parents.items():
        for parent in above:
            children[parent].append(key)
    return {"parent_map": parents, "child_map": {key: sorted(below) for key, below in children.items()}}


def _node(step: Step, renderer: Renderer, call: Invocation) -> dict[str, Any]:
    node, rendered = step.node, step.rendered
    assert rendered is not None
    refs = sorted(rendered.refs, key=lambda key: key == node.attached)  # dbt names what a test is attached to last
    relation = step.relation if step.kind != "test" else None
    config = _config(node, step.kind)
    alias = node.config.get("alias") or _alias(node)
    if relation:
        alias = step.name if relation.is_cte else relation.identifier
    described = {
        **_common(node, renderer, call),
        "database": LAKE,
        "schema": relation.schema if relation else f"{renderer.target.schema}_{config['schema']}",
        "alias": alias,
        "path": _path(node, renderer),
        "checksum": _checksum(node, renderer.project),
        "config": config,
        "tags": config["tags"],
        "meta": config["meta"],
        "group": config["group"],
        "docs": config.get("docs") or _SHOWN,
        "build_path": None,
        "unrendered_config": _unrendered(node, renderer),
        "relation_name": relation.render() if relation and not relation.is_cte else None,
        "raw_code": "" if step.kind == "seed" else _raw_code(node),
        "depends_on": {"macros": _node_macros(node, renderer), "nodes": refs},
    }
    if step.kind == "seed":
        return described | {"root_path": str(renderer.project.root.resolve()), "depends_on": {"macros": []}}
    described |= {
        "language": "sql",
        "refs": [entries.ref(key, node, renderer) for key in refs if not key.startswith("source.")],
        "sources": [key.split(".", 2)[2].split(".", 1) for key in refs if key.startswith("source.")],
        "metrics": [],
        "functions": [],
        "compiled_path": None,
        "compiled": True,
        "compiled_code": step.sql,
        "extra_ctes_injected": True,
        "extra_ctes": [],
        "contract": {"enforced": False, "alias_types": True, "checksum": None} | (config.get("contract") or {}),
    }
    if node.kind == "model":
        described |= {"access": config.get("access", "protected"), "constraints": [], "version": node.version,
                      "latest_version": node.latest_version, "deprecation_date": None, "primary_key": []}  # fmt: skip
    return described | _generic_test(node)


def _generic_test(node: Node) -> dict[str, Any]:
    if node.test is None or node.attached is None:
        return {}
    namespace, _, name = node.test.name.rpartition(".")
    return {
        "column_name": node.test.column,
        "file_key_name": f"{node.attached.split('.', 1)[0]}s.{node.attached.split('.', 2)[2]}",
        "attached_node": node.attached if not node.attached.startswith("source.") else None,
        "test_metadata": {
            "name": name,
            "kwargs": {**test_kwargs(node.test), "model": tested_template(node.attached)},
            "namespace": namespace or None,
        },
    }


def _source(step: Step, renderer: Renderer, call: Invocation) -> dict[str, Any]:
    node, relation = step.node, step.relation
    assert relation is not None
    config = {"enabled": True, "event_time": None, "tags": [], "meta": {}, **renderer.settings(node)}
    return {
        **_common(node, renderer, call),
        "database": LAKE,
        "schema": relation.schema,
        "path": _original(node, renderer),
        "source_name": node.source_name,
        "source_description": "",
        "loader": "",
        "identifier": relation.identifier,
        "quoting": {"database": None, "schema": None, "identifier": None, "column": None},
        "loaded_at_field": None,
        "freshness": _NO_FRESHNESS,
        "external": None,
        "meta": config["meta"],
        "source_meta": {},
        "tags": listed(config["tags"]),
        "config": config,
        "patch_path": None,
        "unrendered_config": {"loaded_at_field": None, "loaded_at_query": None, "meta": {}, "tags": [], **node.config},
        "relation_name": relation.render(),
        "unrendered_database": None,
        "unrendered_schema": node.schema,
    }


def _common(node: Node, renderer: Renderer, call: Invocation) -> dict[str, Any]:
    return {
        "name": node.name,
        "resource_type": node.kind,
        "package_name": node.package,
        "original_file_path": _original(node, renderer),
        "unique_id": node.id,
        "fqn": list(node.fqn),
        "description": node.description,
        "columns": {
            column.name: {
                "name": column.name, "description": column.description, "meta": {}, "data_type": column.data_type,
                "constraints": [], "quote": column.quote or None, "config": {"meta": {}, "tags": []}, "tags": [],
                "granularity": None, "doc_blocks": [],
            }
            for column in node.columns
        },
        "patch_path": f"{node.package}://{node.described_at.path}" if node.described_at else None,
        "doc_blocks": [],
        "created_at": call.began,
    }  # fmt: skip


def _macro(macro: Macro, renderer: Renderer, call: Invocation) -> dict[str, Any]:
    key = f"macro.{macro.package}.{macro.name}"
    path = _inside_package(macro.path, macro.package, renderer)
    return {
        "name": macro.name,
        "resource_type": "macro",
        "package_name": macro.package,
        "path": path,
        "original_file_path": path,
        "unique_id": key,
        "macro_sql": macro_text(macro),
        "depends_on": {"macros": [each for each in _macros_in(macro.text, macro.package, renderer) if each != key]},
        "description": "",
        "meta": {},
        "docs": _SHOWN,
        "config": {"meta": {}, "docs": _SHOWN},
        "patch_path": None,
        "arguments": [],
        "created_at": call.began,
        "supported_languages": None,
    }


def macro_text(macro: Macro) -> str:
    """Return the text of a macro from its opening to its closing tag."""
    found = re.search(
        r"\{%-?\s*(macro|(?:data_)?test|materialization)\b.*?\{%-?\s*end\1\s*-?%\}", macro.text, re.DOTALL
    )
    return found[0] if found else macro.text


def _node_macros(node: Node, renderer: Renderer) -> list[str]:
    """Return the macros that a node calls itself, without those that they call."""
    if node.test is None:
        return _macros_in(node.text, node.package, renderer) if node.kind != "seed" else []
    macro = test_macro(renderer, node)
    return [f"macro.{macro.package}.{macro.name}"] if macro else []


def _macros_in(text: str, package: str, renderer: Renderer) -> list[str]:
    """Return the macros that the templates of ``text`` call, in branches that are not taken too."""
    library = renderer.library
    named = {name for macros in library.macros.values() for name in macros}
    if not any(name in named or name == "dispatch" for name in _CALLS.findall(text)):
        return []  # parsing every model of a project would take longer than all else here
    from jinja2 import TemplateSyntaxError, nodes  # a build of nothing needs none

    try:
        tree = library.env.parse(text)
    except TemplateSyntaxError:
        return []
    found: dict[str, None] = {}
    for call in tree.find_all(nodes.Call):
        if macro := _called(call.node, package, library):
            found[f"macro.{macro.package}.{macro.name}"] = None
        elif isinstance(call.node, nodes.Getattr) and call.node.attr == "dispatch":
            given = [each.value for each in call.args if isinstance(each, nodes.Const)]
            more = {each.key: each.value.value for each in call.kwargs if isinstance(each.value, nodes.Const)}
            name, namespace = [*given, None, None][:2]
            name, namespace = more.get("macro_name", name), more.get("macro_namespace", namespace)
            order = renderer.project.dispatch.get(namespace) or (renderer.project.name, namespace or package, "dbt")
            names = [(place, f"{prefix}{name}") for place in order for prefix in ("duckdb__", "default__")]
            if chosen := next((pair for pair in names if pair[1] in library.macros.get(pair[0], {})), None):
                found[f"macro.{chosen[0]}.{chosen[1]}"] = None
    return list(found)


def _called(function: object, package: str, library: Library) -> Macro | None:
    """Return the macro that a call names: ``name(…)`` or ``package.name(…)``."""
    from jinja2 import nodes

    if isinstance(function, nodes.Name):
        return library.find(function.name, package)
    if isinstance(function, nodes.Getattr) and isinstance(function.node, nodes.Name):
        return library.macros.get(function.node.name, {}).get(function.attr)
    return None


def _config(node: Node, kind: str) -> dict[str, Any]:
    base = _TEST_CONFIG if node.kind == "test" else {**_CONFIG, "materialized": kind}
    config = {**base, **{_dbt_name(name): value for name, value in node.config.items()}}
    config["tags"] = listed(config["tags"])
    config["meta"] = config["meta"] or {}
    for hook in ("pre-hook", "post-hook"):
        if config.get(hook):
            config[hook] = [
                {"sql": each, "transaction": True, "index": None} if isinstance(each, str) else each
                for each in listed(config[hook])
            ]
    if node.test is not None and _alias(node) != node.name:
        config["alias"] = config["alias"] or _alias(node)
    return config


def _unrendered(node: Node, renderer: Renderer) -> dict[str, Any]:
    """Return the settings as written: templates of YAML files are not rendered."""
    written, settled = renderer.project.nodes[node.id].config, renderer.settings(renderer.project.nodes[node.id])
    config = {
        _dbt_name(name): written[name] if name in written and settled.get(name) == value else value
        for name, value in node.config.items()
    }
    for hook in ("pre-hook", "post-hook"):  # one alone is mostly written without a list
        if isinstance(config.get(hook), list) and len(config[hook]) == 1:
            config[hook] = config[hook][0]
    if node.test is not None and _alias(node) != node.name:
        config.setdefault("alias", _alias(node))
    return config


def _dbt_name(setting: str) -> str:
    return setting.replace("_hook", "-hook") if setting in ("pre_hook", "post_hook") else setting


def _alias(node: Node) -> str:
    return test_alias(node.name, node.test, node.attached)


def _checksum(node: Node, project: Project) -> dict[str, str]:
    if node.test is not None:
        return {"name": "none", "checksum": ""}
    if node.kind == "seed":
        file = project.file(node.path)
        if file.stat().st_size > _LARGE_SEED:
            return {"name": "sha256", "checksum": node.text.split("\n")[1]}
        return {"name": "sha256", "checksum": sha256(file.read_bytes().strip()).hexdigest()}
    return {"name": "sha256", "checksum": sha256(node.text.strip().encode()).hexdigest()}


def _raw_code(node: Node) -> str:
    if node.test is None:
        return node.text.strip()
    namespace, _, name = node.test.name.rpartition(".")
    settings = dict(node.test.config)
    if _alias(node) != node.name:
        settings.setdefault("alias", _alias(node))
    quoted = {key: json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
              for key, value in settings.items()}  # fmt: skip
    words = ",".join(f"{key}={value}" for key, value in quoted.items())
    macro = f"{namespace}.test_{name}" if namespace else f"test_{name}"
    return f"{{{{ {macro}(**_dbt_generic_test_kwargs) }}}}" + (f"{{{{ config({words}) }}}}" if words else "")


def _original(node: Node, renderer: Renderer) -> str:
    return _inside_package(node.path, node.package, renderer)


def _inside_package(path: str, package: str, renderer: Renderer) -> str:
    """Return a path within its own package: without ``dbt_packages/name/``."""
    parts = path.split("/")
    return "/".join(parts[2:]) if package in renderer.project.packages[1:] and len(parts) > 2 else path


def _path(node: Node, renderer: Renderer) -> str:
    """Return the path below the folder of models, of seeds, of tests."""
    if node.test is not None:
        return f"{_alias(node)}.sql"
    parts = _original(node, renderer).split("/")
    return "/".join(parts[-(len(node.fqn) - 1) :] if node.kind in ("model", "seed", "test") else parts[1:])
