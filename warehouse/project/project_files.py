"""From the files of a dbt project to a ``Project``; no template is rendered yet.

    project = load(Path("sql"))
    project.nodes["model.shop.orders"].text

Reading collects every mistake it can find and raises them together (``ProjectErrors``), so that a user mends a
project in one go. Templates and SQL are judged later, by ``render`` and ``graph``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from udfs.errors import CuveeError, Location, UsageError, did_you_mean
from warehouse.project import yamlfile
from warehouse.project.documentation import DocsBlock, blocks
from warehouse.project.model_versions import ModelVersion
from warehouse.project.project import MacroFile, Node, Project, ProjectErrors
from warehouse.project.properties import MAPPINGS, SETTINGS, columns, constraints, entry_config, listed, merge, setting
from warehouse.project.schemas import Schemas

#: The folder below the tests' that holds rows for unit tests.
_FIXTURES = "fixtures"
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
_YAML_FOLDERS = ("model-paths", "seed-paths", "snapshot-paths", "macro-paths", "test-paths", "analysis-paths")


class ProjectNotFoundError(UsageError):
    """There is no dbt_project.yml where one was looked for."""


def load(root: Path) -> Project:
    """Read the project in ``root``. Raises ProjectNotFoundError, or ProjectErrors with all that is wrong."""
    if not (root / "dbt_project.yml").is_file():
        raise ProjectNotFoundError(
            f"no dbt_project.yml in {root}", hint="name the project's folder with --project-dir DIR"
        )
    reader = Reader(root)
    reader.package(root, own=True)
    if reader.errors:
        raise ProjectErrors(reader.errors)
    return reader.project()


@dataclass(frozen=True, slots=True)
class _Package:
    """One package: its name, its folder and its dbt_project.yml."""

    name: str
    folder: Path
    settings: Mapping[str, Any]

    def places(self, key: str) -> list[str]:
        """The folders that ``key`` names (``model-paths``), those that dbt names itself, or its older word."""
        older = {"model-paths": "source-paths", "seed-paths": "data-paths"}.get(key, "")
        usual = {"analysis-paths": "analyses"}.get(key, key.removesuffix("-paths") + "s")
        return list(self.settings.get(key) or self.settings.get(older) or [usual])

    def files(self, key: str, *suffixes: str) -> Iterator[Path]:
        """The files with an ending in the folders that ``key`` names. Raises CuveeError for a folder outside."""
        for place in self.places(key):
            if not Path(os.path.normpath(self.folder / place)).is_relative_to(os.path.normpath(self.folder)):
                raise CuveeError(
                    f"{key}: {place} lies outside of the project",
                    where=Location(str(self.folder / "dbt_project.yml")),
                    hint=f"link it into the project (ln -s {place}) and name the link",
                )
        for suffix in suffixes:
            for place in self.places(key):
                if (self.folder / place).is_dir():
                    yield from sorted(file for file in (self.folder / place).rglob(f"*{suffix}") if file.is_file())

    def inside(self, file: Path, key: str) -> Path:
        """The path of a file below the first of the folders that holds it."""
        folders = [self.folder / place for place in self.places(key)]
        return next((file.relative_to(each) for each in folders if file.is_relative_to(each)), Path(file.name))


class Reader:
    """What was read so far, and what is wrong with it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.errors: list[CuveeError] = []
        self.nodes: dict[str, Node] = {}
        self.macros: list[MacroFile] = []
        self.docs: dict[tuple[str, str], DocsBlock] = {}
        self.groups: dict[str, Mapping[str, Any]] = {}
        self.patches: dict[tuple[str, str, str], Patch] = {}
        self._packages: list[_Package] = []
        self._vars: dict[str, Any] = {}

    def project(self) -> Project:
        own = self._packages[0].settings
        profiles = self.root / "profiles.yml"
        return Project(
            root=self.root,
            name=self._packages[0].name,
            profile=own.get("profile"),
            vars=self._vars,
            nodes=self.nodes,
            macros=tuple(self.macros),
            packages=tuple(package.name for package in self._packages),
            dispatch={
                str(entry.get("macro_namespace")): tuple(entry.get("search_order") or ())
                for entry in own.get("dispatch") or ()
            },
            profiles=yamlfile.parse(profiles.read_text(), "profiles.yml") or {} if profiles.is_file() else {},
            on_run_start=tuple(listed(own.get("on-run-start"))),
            on_run_end=tuple(listed(own.get("on-run-end"))),
            flags=own.get("flags") or {},
            docs=self.docs,
            groups=self.groups,
        )

    # --- packages -------------------------------------------------------------------------------------------

    def package(self, folder: Path, *, own: bool) -> None:
        """Read one package; the project's own first, then those below its dbt_packages/."""
        path = self.relative(folder / "dbt_project.yml")
        try:
            settings = yamlfile.parse((folder / "dbt_project.yml").read_text(encoding="utf-8"), path) or {}
        except CuveeError as error:
            self.errors.append(error)
            return
        if not isinstance(settings, Mapping) or not settings.get("name"):
            self.errors.append(CuveeError("a project needs a name", where=Location(path, 1), hint="name: my_project"))
            return
        package = _Package(str(settings["name"]), folder, settings)
        self._packages.append(package)
        variables = dict(settings.get("vars") or {})
        if own:
            self._vars = {**variables, **self._vars}
        else:
            scoped = self._vars.get(package.name)
            self._vars[package.name] = {**variables, **(scoped if isinstance(scoped, Mapping) else {})}
        for file in package.files("macro-paths", ".sql"):
            self._macros(file, package)
        if own:
            installed = folder / str(settings.get("packages-install-path", "dbt_packages"))
            for inner in sorted(installed.glob("*/dbt_project.yml")):
                self.package(inner.parent, own=False)
        for key in ["docs-paths"] if settings.get("docs-paths") else _YAML_FOLDERS:
            for file in package.files(key, ".md"):
                self._docs(file, package.name)
        schemas = Schemas(self, package.name, self._fixtures(package))
        for key in _YAML_FOLDERS:
            for file in package.files(key, ".yml", ".yaml"):
                schemas.read(self.text(file), self.relative(file))
        for file in package.files("model-paths", ".sql"):
            self._file_node("model", file, package, self.text(file))
        for file in package.files("model-paths", ".py"):
            hint = "write it in SQL; a function that SQL may call is Python: see udfs"
            self.errors.append(
                CuveeError("models in Python are not built", where=Location(self.relative(file)), hint=hint)
            )
        for file in package.files("seed-paths", ".csv"):
            self._file_node("seed", file, package, _seed_text(file))
        for file in package.files("test-paths", ".sql"):
            if "generic" in file.relative_to(folder).parts[:-1]:
                self._macros(file, package)
            elif package.inside(file, "test-paths").parts[0] != _FIXTURES:
                self._file_node("test", file, package, self.text(file))
        for file in package.files("snapshot-paths", ".sql"):
            self._snapshots(file, package)
        self._judge(package.name)

    def _judge(self, package: str) -> None:
        """Find what a package describes or tests, and there is not."""
        models = [node.name for node in self.nodes.values() if node.kind == "model" and node.package == package]
        for node in [each for each in self.nodes.values() if each.unit and each.package == package]:
            assert node.unit is not None
            if versions := [each for each in self.nodes.values() if each.version and each.name == node.unit.model]:
                del self.nodes[node.id]
                for each in versions:  # a test of every version, as in dbt
                    name, key = f"{node.name}_v{each.version}", f"{node.id}_v{each.version}"
                    self.nodes[key] = replace(node, id=key, name=name, attached=each.id)
            elif node.unit.model not in models:
                message = f"unit test {node.name} tests model {node.unit.model!r}, which does not exist"
                hint = did_you_mean(node.unit.model, models)
                self.errors.append(CuveeError(message, where=node.where, hint=hint))
        for patch in self.patches.values():
            if not patch.used and patch.package == package:
                known = [node.name for node in self.nodes.values() if node.kind == patch.kind]
                name = patch.version.file if patch.version else str(patch.entry["name"])
                message = f"describes {patch.kind} {name!r}, which does not exist"
                self.errors.append(CuveeError(message, where=patch.where, hint=did_you_mean(name, known)))

    def text(self, file: Path) -> str:
        try:
            return file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            self.errors.append(CuveeError(f"not UTF-8 text: {error.reason}", where=Location(self.relative(file))))
            return ""

    def relative(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix()

    # --- files ----------------------------------------------------------------------------------------------

    def _macros(self, file: Path, package: _Package) -> None:
        self.macros.append(MacroFile(package.name, self.relative(file), self.text(file)))

    def _file_node(self, kind: str, file: Path, package: _Package, text: str) -> None:
        fqn = (*package.inside(file, f"{kind}-paths").parts[:-1], file.stem)
        self.described(kind, file.stem, self.relative(file), package.name, fqn, text)

    def _snapshots(self, file: Path, package: _Package) -> None:
        """The snapshots of one file; as in dbt, its name is part of their paths."""
        from warehouse.project.snapshot_settings import blocks

        path, folders = self.relative(file), package.inside(file, "snapshot-paths").with_suffix("").parts
        try:
            for name, text in blocks(self.text(file), path):
                self.described("snapshot", name, path, package.name, (*folders, name), text)
        except CuveeError as error:
            self.errors.append(error)

    def _docs(self, file: Path, package: str) -> None:
        try:
            for block in blocks(self.text(file), self.relative(file), package):
                if other := self.docs.get((package, block.name)):
                    self.clash("docs blocks", block.name, block.where, other.where)
                else:
                    self.docs[package, block.name] = block
        except CuveeError as error:
            self.errors.append(error)

    def _fixtures(self, package: _Package) -> dict[str, tuple[str, str]]:
        """Rows for unit tests in files of their own: name → path and text."""
        found: dict[str, tuple[str, str]] = {}
        for place in package.places("test-paths"):
            for file in sorted((package.folder / place / _FIXTURES).rglob("*.*")):
                if file.suffix in (".csv", ".sql"):
                    path = self.relative(file)
                    if file.stem in found:
                        self.clash("fixtures", file.stem, Location(path), Location(found[file.stem][0]))
                    found[file.stem] = path, self.text(file)
        return found

    # --- nodes ----------------------------------------------------------------------------------------------

    def described(self, kind: str, name: str, path: str, package: str, fqn: Sequence[str], text: str) -> None:
        """Add a node that has a text, with what a schema.yml says of it."""
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
        self.add(self.node(kind, name, path, package, fqn, entry, patch.where if patch else None, **facts))

    def node(
        self,
        kind: str,
        name: str,
        path: str,
        package: str,
        fqn: Sequence[str],
        entry: Mapping[str, Any],
        described_at: Location | None,
        *,
        key: str | None = None,
        **facts: Any,
    ) -> Node:
        """A node: its folder's config below that of its entry. ``key`` ends its id, if its name does not."""
        fqn = (package, *fqn)
        facts.setdefault("config", merge(self.folder_config(kind, fqn), entry_config(entry)))
        return Node(
            id=f"{kind}.{package}.{key or name}",
            kind=kind,
            name=name,
            package=package,
            path=path,
            fqn=fqn,
            description=str(entry.get("description") or ""),
            described_at=described_at,
            **facts,
        )

    def add(self, node: Node) -> None:
        """Add a node. A second one with its id is a mistake."""
        if other := self.nodes.get(node.id):
            what = f"{node.kind.replace('_', ' ')}s" + (f" of {node.unit.model}" if node.unit else "")
            name = f"{node.source_name}.{node.name}" if node.source_name else node.name
            self.clash(what, name, node.where, other.where)
        else:
            self.nodes[node.id] = node

    def clash(self, what: str, name: str, where: Location, other: Location) -> None:
        """Note that two things have one name."""
        self.errors.append(CuveeError(f"two {what} are named {name}", where=where, hint=f"the other is {other}"))

    def folder_config(self, kind: str, fqn: Sequence[str]) -> Mapping[str, Any]:
        """What the ``models:`` (…) block of dbt_project.yml says for a node; the outer project's word is last."""
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


@dataclass(slots=True)
class Patch:
    """What a schema.yml says about one model, seed or snapshot."""

    entry: Mapping[str, Any]
    where: Location
    package: str
    kind: str
    version: ModelVersion | None = None
    used: bool = False


def _seed_text(file: Path) -> str:
    """What stands for a seed's rows: its header, and a digest of all of it."""
    content = file.read_bytes()
    header = content.split(b"\n", 1)[0].decode("utf-8", "replace").strip()
    return f"{header}\n{sha256(content).hexdigest()}"
