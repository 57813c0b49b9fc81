"""A dbt project as plain values: what the files say, before any template is rendered. And the results of its nodes.

Made by ``project_files.load``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from udfs.errors import CuveeError, Location, ProjectError, UsageError, did_you_mean
from warehouse.project.properties import ColumnProperties, Exposure, Test
from warehouse.project.relation import LAKE
from warehouse.project.unit_properties import UnitTest

#: Nodes that are built at once, where profiles.yml does not say. A large query uses all cores by itself.
_THREADS = 2


class ProjectErrors(ProjectError):
    """Everything that is wrong with a project, at once."""

    def __init__(self, errors: Sequence[CuveeError]) -> None:
        head = "" if len(errors) == 1 else f"{len(errors)} problems in the project\n\n"
        super().__init__(head + "\n\n".join(str(error) for error in errors))
        self.errors = tuple(errors)


@contextmanager
def collected(errors: list[CuveeError]) -> Iterator[None]:
    """Add a user's mistake to ``errors`` and go on."""
    try:
        yield
    except CuveeError as error:
        errors.append(error)


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


@dataclass(frozen=True, slots=True)
class DocsBlock:
    """A text that descriptions may take by its name. It is not a template itself."""

    package: str
    name: str
    text: str
    where: Location


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

    def find(self, name: str, package: str | None, local: str, version: Any = None) -> Node | None:
        """Find the model, seed or snapshot that a ref names, in the node's own package ``local`` first.

        Without a version it is the latest one.
        """
        keys: list[str] = []
        for place in [package] if package else [local, *self.packages]:
            keys += [f"{kind}.{place}.{name}" for kind in ("model", "seed", "snapshot") if version is None]
            keys.append(f"model.{place}.{name}.v{self._latest.get((place, name)) if version is None else version}")
        return next((self.nodes[key] for key in keys if key in self.nodes), None)

    def source(self, name: str, local: str) -> Node | None:
        """Find the source ``schema.table``, in the node's own package ``local`` first."""
        keys = (f"source.{place}.{name}" for place in [local, *self.packages])
        return next((self.nodes[key] for key in keys if key in self.nodes), None)

    def named(self, text: str, local: str, what: str, where: Location) -> Node:
        """Find the node that ``ref('orders')`` or ``source('raw', 'documents')`` names where YAML has it as text.

        ``what`` begins the message of an error. Raises ProjectError, located, if the text is not a reference or the
        node does not exist.
        """
        try:
            call = ast.parse(text.strip(), mode="eval").body
            assert isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
            names = [str(ast.literal_eval(each)) for each in call.args]
            options = {each.arg: ast.literal_eval(each.value) for each in call.keywords}
            source = call.func.id == "source"
            assert call.func.id in ("ref", "source") and len(names) in ((2,) if source else (1, 2))
            assert options.keys() <= (set() if source else {"v", "version"})
        except (SyntaxError, ValueError, AssertionError) as error:
            hint = "ref('orders') or source('raw', 'documents')"
            raise ProjectError(f"{what}: {text!r} is not a valid reference", where=where, hint=hint) from error
        wanted = ".".join(names)
        package = names[0] if len(names) == 2 else None
        version = options.get("v", options.get("version"))
        found = self.source(wanted, local) if source else self.find(names[-1], package, local, version)
        if found is None:
            kinds = ("source",) if source else ("model", "seed", "snapshot")
            known = [f"{each.source_name}.{each.name}" if source else each.name for each in self.of_kind(*kinds)]
            message = f"{what}: there is no {'source' if source else 'model or seed'} {wanted}"
            raise ProjectError(message, where=where, hint=did_you_mean(wanted, known))
        return found

    @cached_property
    def _latest(self) -> Mapping[tuple[str, str], Any]:
        return {(node.package, node.name): node.latest_version for node in self.of_kind("model") if node.version}


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


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a profile: the database and schema that a build writes to."""

    name: str = "main"
    schema: str = "main"
    profile: str = "cuvee"
    database: str = LAKE
    type: str = "duckdb"
    threads: int = _THREADS

    @property
    def profile_name(self) -> str:
        return self.profile

    @property
    def dbname(self) -> str:
        return self.database

    def get(self, key: str, default: Any = None) -> Any:
        return getattr(self, key, default)


def target_of(project: Project, name: str | None = None) -> Target:
    """Return the target that profiles.yml and ``--target`` name. Raises UsageError for an unknown one."""
    profile = project.profiles.get(project.profile or "")
    if not isinstance(profile, Mapping):
        return Target(name=name or "main", profile=project.profile or "cuvee")
    outputs = profile.get("outputs") or {}
    chosen = name or str(profile.get("target", "default"))
    if chosen not in outputs:
        raise UsageError(f"profile {project.profile} has no target {chosen!r}", hint=did_you_mean(chosen, outputs))
    output = outputs[chosen]
    return Target(
        name=chosen,
        schema=str(output.get("schema", "main")),
        profile=str(project.profile),
        threads=int(output.get("threads") or _THREADS),
    )
