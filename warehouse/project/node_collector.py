"""Collect the nodes of a project from its files, with the configuration of its folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from udfs.errors import CuveeError, Location
from warehouse.project.model_versions import ModelVersion
from warehouse.project.project import Node
from warehouse.project.properties import MAPPINGS, SETTINGS, columns, constraints, entry_config, merge, setting

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$.]*\Z")

#: Where dbt_project.yml has the config of each kind of node; the later block is laid over the earlier.
_SECTIONS = {
    "model": ("models",),
    "seed": ("seeds",),
    "snapshot": ("snapshots",),
    "source": ("sources",),
    "test": ("tests", "data_tests"),
    "unit_test": ("unit_tests",),
    "exposure": ("exposures",),
}


@dataclass(frozen=True, slots=True)
class PackageFolder:
    """One package: its name, its folder and its dbt_project.yml."""

    name: str
    folder: Path
    settings: Mapping[str, Any]

    def places(self, key: str) -> list[str]:
        """Return the folders that ``key`` (``model-paths``) or its older word names, or dbt's default."""
        older = {"model-paths": "source-paths", "seed-paths": "data-paths"}.get(key, "")
        usual = {"analysis-paths": "analyses"}.get(key, key.removesuffix("-paths") + "s")
        return list(self.settings.get(key) or self.settings.get(older) or [usual])

    def files(self, key: str, *suffixes: str) -> Iterator[Path]:
        """Return the files with an ending in the folders that ``key`` names. Raises CuveeError for a folder outside."""
        for place in self.places(key):
            if not Path(os.path.normpath(self.folder / place)).is_relative_to(os.path.normpath(self.folder)):
                message = f"{key}: {place} is outside of the project"
                hint = f"link it into the project (ln -s {place}) and name the link"
                raise CuveeError(message, where=Location(str(self.folder / "dbt_project.yml")), hint=hint)
        for suffix in suffixes:
            for place in self.places(key):
                if (self.folder / place).is_dir():
                    yield from sorted(file for file in (self.folder / place).rglob(f"*{suffix}") if file.is_file())

    def inside(self, file: Path, key: str) -> Path:
        """Return the path of a file below the first of the folders that holds it."""
        folders = [self.folder / place for place in self.places(key)]
        return next((file.relative_to(each) for each in folders if file.is_relative_to(each)), Path(file.name))


@dataclass(slots=True)
class Patch:
    """The entry of one model, seed or snapshot in a schema.yml."""

    entry: Mapping[str, Any]
    where: Location
    package: str
    kind: str
    version: ModelVersion | None = None
    used: bool = False


@dataclass(frozen=True, slots=True)
class Declared:
    """Where a node is declared: its file, its package, its names from the package on, and its entry in YAML."""

    path: str
    package: str
    fqn: Sequence[str]
    entry: Mapping[str, Any]
    where: Location | None


class NodeCollector:
    """The nodes found so far, and the mistakes in their files."""

    def __init__(self) -> None:
        self.errors: list[CuveeError] = []
        self.nodes: dict[str, Node] = {}
        self.groups: dict[str, Mapping[str, Any]] = {}
        self.patches: dict[tuple[str, str, str], Patch] = {}
        self.stated: list[tuple[str, Mapping[str, Any]]] = []  # the project's own schema.yml files
        self._packages: list[PackageFolder] = []

    def is_root(self, package: str) -> bool:
        """Return whether a package is the project itself."""
        return package == self._packages[0].name

    def described(self, kind: str, name: str, path: str, package: str, fqn: Sequence[str], text: str) -> None:
        """Add a node that has a text, with its entry in a schema.yml."""
        if not _NAME.match(name):
            message, hint = f"{name!r} cannot name a {kind}", "letters, digits, underscores"
            self.errors.append(CuveeError(message, where=Location(path), hint=hint))
            return
        patch = self.patches.get((kind, package, name))
        if patch:
            patch.used = True
        entry = patch.entry if patch else {}
        facts: dict[str, Any] = {"text": text, "columns": columns(entry), "constraints": constraints(entry)}
        if patch and (version := patch.version):
            name, fqn = version.model, (*fqn[:-1], version.model, f"v{version.v}")
            facts |= {"key": f"{name}.v{version.v}", "version": version.v, "latest_version": version.latest}
        self.add(kind, name, Declared(path, package, fqn, entry, patch.where if patch else None), **facts)

    def add(self, kind: str, name: str, declared: Declared, *, key: str | None = None, **facts: Any) -> Node:
        """Add a node: its entry's config over its folder's. ``key`` ends its id, if its name does not.

        A second node with its id is a mistake.
        """
        fqn = (declared.package, *declared.fqn)
        facts.setdefault("config", merge(self.folder_config(kind, fqn), entry_config(declared.entry)))
        node = Node(
            id=f"{kind}.{declared.package}.{key or name}",
            kind=kind,
            name=name,
            package=declared.package,
            path=declared.path,
            fqn=fqn,
            description=str(declared.entry.get("description") or ""),
            described_at=declared.where,
            **facts,
        )
        if other := self.nodes.get(node.id):
            what = f"{node.kind.replace('_', ' ')}s" + (f" of {node.unit.model}" if node.unit else "")
            name = f"{node.source_name}.{node.name}" if node.source_name else node.name
            self.clash(what, name, node.where, other.where)
        else:
            self.nodes[node.id] = node
        return node

    def clash(self, what: str, name: str, where: Location, other: Location) -> None:
        """Note that two things have one name."""
        self.errors.append(CuveeError(f"two {what} are named {name}", where=where, hint=f"the other is {other}"))

    def folder_config(self, kind: str, fqn: Sequence[str]) -> Mapping[str, Any]:
        """Return the config of a node in dbt_project.yml (``models:``, …). The outer project has the last word."""
        config: Mapping[str, Any] = {}
        for package in reversed(self._packages):
            for section in _SECTIONS[kind]:
                level: Any = package.settings
                for step in (section, *fqn):
                    level = level.get(step)
                    if not isinstance(level, Mapping):
                        break
                    found = {
                        setting(key): value
                        for key, value in level.items()
                        if key.startswith("+")
                        or (key in SETTINGS and (key in MAPPINGS or not isinstance(value, Mapping)))
                    }
                    config = merge(config, found)
        return config
