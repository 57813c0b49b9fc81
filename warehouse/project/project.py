"""A dbt project as plain values: what the files say, before any template is rendered.

Made by ``project_files.load``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from udfs.errors import CuveeError, Location, ProjectError
from warehouse.project.documentation import DocsBlock
from warehouse.project.exposures import Exposure
from warehouse.project.properties import ColumnProperties, Test
from warehouse.project.unit_properties import UnitTest


class ProjectErrors(ProjectError):
    """Everything that is wrong with a project, at once."""

    def __init__(self, errors: Sequence[CuveeError]) -> None:
        head = "" if len(errors) == 1 else f"{len(errors)} problems in the project\n\n"
        super().__init__(head + "\n\n".join(str(error) for error in errors))
        self.errors = tuple(errors)


@dataclass(frozen=True, slots=True)
class Node:
    """Anything that can be built, tested or read: a model, a seed, a source table, a test.

    ``config`` is what dbt_project.yml and schema.yml say; a model's own ``config(...)`` is added by rendering.
    """

    id: str
    kind: str  # model | seed | snapshot | source | test | unit_test | exposure
    name: str
    package: str
    path: str
    fqn: tuple[str, ...]
    text: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""
    columns: tuple[ColumnProperties, ...] = ()
    constraints: tuple[Mapping[str, Any], ...] = ()
    described_at: Location | None = None
    test: Test | None = None  # of a generic test
    attached: str | None = None  # the node that a generic test or a unit test tests
    unit: UnitTest | None = None  # of a unit test
    exposure: Exposure | None = None
    source_name: str | None = None
    schema: str | None = None
    identifier: str | None = None
    version: Any = None  # of a model that has several
    latest_version: Any = None

    @property
    def where(self) -> Location:
        stated = self.test or self.unit or self.exposure
        if stated:
            return stated.where
        return self.described_at if self.kind == "source" and self.described_at else Location(self.path)


@dataclass(frozen=True, slots=True)
class MacroFile:
    """A file of macros; the templates inside are found by the renderer."""

    package: str
    path: str
    text: str


@dataclass(frozen=True)
class Project:
    """All files of a project and of the packages under ``dbt_packages/``."""

    root: Path
    name: str
    profile: str | None
    vars: Mapping[str, Any]
    nodes: Mapping[str, Node]
    macros: tuple[MacroFile, ...]
    packages: tuple[str, ...]  # the project's own name first
    dispatch: Mapping[str, tuple[str, ...]]
    profiles: Mapping[str, Any]
    on_run_start: tuple[str, ...] = ()
    on_run_end: tuple[str, ...] = ()
    flags: Mapping[str, Any] = field(default_factory=dict)
    docs: Mapping[tuple[str, str], DocsBlock] = field(default_factory=dict)  # by package and name
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # entries of schema.yml by name

    def of_kind(self, *kinds: str) -> Iterator[Node]:
        return (node for node in self.nodes.values() if node.kind in kinds)

    def referred(self, package: str, name: str, version: Any = None) -> Node | None:
        """Find the model, seed or snapshot that a ref names. Without a version it is the latest one."""
        for kind in ("model", "seed", "snapshot") if version is None else ():
            if node := self.nodes.get(f"{kind}.{package}.{name}"):
                return node
        key = f"model.{package}.{name}.v{self._latest.get((package, name)) if version is None else version}"
        return self.nodes.get(key)

    @cached_property
    def _latest(self) -> Mapping[tuple[str, str], Any]:
        return {(node.package, node.name): node.latest_version for node in self.of_kind("model") if node.version}


def with_config(node: Node, config: Mapping[str, Any]) -> Node:
    """Return the node with its final config."""
    return replace(node, config=config)


def groups(project: Project) -> dict[str, Any]:
    """Return the groups of models."""
    return {
        f"group.{project.name}.{name}": {
            "name": name,
            "resource_type": "group",
            "package_name": project.name,
            "unique_id": f"group.{project.name}.{name}",
            "owner": {"email": None, "name": None, **(entry.get("owner") or {})},
            "description": entry.get("description"),
            "config": {"meta": {}},
        }
        for name, entry in project.groups.items()
    }
