"""A dbt project as plain values: what the files say, before any template is rendered. And the results of its nodes.

Made by ``project_files.load``.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from udfs.errors import CuveeError, Location, ProjectError, UsageError, did_you_mean
from warehouse.project.package import NAME, package_folder
from warehouse.project.properties import ColumnProperties, Exposure, Test
from warehouse.project.relation import LAKE
from warehouse.project.unit_properties import UnitTest

#: Nodes that are built at once, where profiles.yml does not say. A large query uses all cores by itself.
_THREADS = 2


#: Says whether a node is enabled, by its final config.
Enabled = Callable[["Node"], bool]


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
    """All files of a project, of the packages under ``dbt_packages/``, and of Cuvée's own where it is used."""

    root: Path
    name: str
    profile: str | None
    vars: Mapping[str, Any]
    package_vars: Mapping[str, Mapping[str, Any]]  # what each package says of its own
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
    warnings: tuple[str, ...] = ()

    def file(self, path: str) -> Path:
        """Return the file of a node's path."""
        shipped = f"dbt_packages/{NAME}/"
        if NAME in self.packages[1:] and path.startswith(shipped):
            return package_folder() / path.removeprefix(shipped)
        return self.root / path

    def of_kind(self, *kinds: str) -> Iterator[Node]:
        return (node for node in self.nodes.values() if node.kind in kinds)

    def find(
        self, name: str, package: str | None, local: str, version: Any = None, enabled: Enabled = lambda node: True
    ) -> Node | None:
        """Find the model, seed or snapshot that a ref in the package ``local`` names. No version means the latest one.

        As in dbt: in the project first, then in ``local`` (the other way round if the project's flag says so), then in
        any other. One that is disabled is passed over, and returned only if there is no other.
        """
        places = [self.name, local]
        if self.flags.get("require_ref_searches_node_package_before_root"):
            places.reverse()
        keys: list[str] = []
        for place in [package] if package else dict.fromkeys([*places, *self.packages]):
            keys += [f"{kind}.{place}.{name}" for kind in ("model", "seed", "snapshot") if version is None]
            keys.append(f"model.{place}.{name}.v{self._latest.get((place, name)) if version is None else version}")
        return self._first(keys, enabled)

    def source(self, name: str, local: str, enabled: Enabled = lambda node: True) -> Node | None:
        """Find the source ``schema.table`` that ``local`` names, in the order of ``find``."""
        places = dict.fromkeys([self.name, local, *self.packages])
        return self._first([f"source.{place}.{name}" for place in places], enabled)

    def _first(self, keys: Sequence[str], enabled: Enabled) -> Node | None:
        found = [self.nodes[key] for key in keys if key in self.nodes]
        return next((node for node in found if len(found) == 1 or enabled(node)), found[0] if found else None)

    def named(self, text: str, local: str, what: str, where: Location, enabled: Enabled = lambda node: True) -> Node:
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
        if source:
            found = self.source(wanted, local, enabled)
        else:
            found = self.find(names[-1], package, local, version, enabled)
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
    settings: Mapping[str, Any] = field(default_factory=dict)  # DuckDB's, as dbt-duckdb sets them

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
    if not isinstance(output, Mapping):
        raise UsageError(f"profiles.yml: the target {chosen} is not a mapping", hint="write type: duckdb below it")
    threads, settings = output.get("threads") or _THREADS, output.get("settings") or {}
    if not str(threads).isdecimal():
        raise UsageError(f"profiles.yml: threads of {chosen} is {threads!r}", hint="a whole number, at least 1")
    if not isinstance(settings, Mapping):
        hint = "write, for example, settings: {memory_limit: 8GB}"
        raise UsageError(f"profiles.yml: settings of {chosen} is {settings!r}, not a mapping", hint=hint)
    return Target(
        name=chosen,
        schema=str(output.get("schema", "main")),
        profile=str(project.profile),
        threads=max(int(threads), 1),
        settings=settings,
    )
