"""Read the files of a dbt project into a ``Project``. Templates are not rendered yet.

    project = load(Path("sql"))
    project.nodes["model.shop.orders"].text

Reading collects every mistake it can find and raises them together (``ProjectErrors``), so that a user mends a
project in one go. Templates and SQL are judged later, by ``render`` and ``graph``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from udfs import yamlfile
from udfs.errors import CuveeError, Location, ProjectError, UsageError, did_you_mean
from warehouse.project import snapshot_settings
from warehouse.project.node_collector import NodeCollector, PackageFolder
from warehouse.project.project import DocsBlock, MacroFile, Project, ProjectErrors, collected
from warehouse.project.properties import listed
from warehouse.project.schemas import Schemas

#: The folder below the tests' that holds rows for unit tests.
_FIXTURES = "fixtures"
_YAML_FOLDERS = ("model-paths", "seed-paths", "snapshot-paths", "macro-paths", "test-paths", "analysis-paths")
_OPENING = re.compile(r"\{%-?\s*docs\s+(\w+)\s*-?%\}")
_CLOSING = re.compile(r"\{%-?\s*enddocs\s*-?%\}")


def load(root: Path) -> Project:
    """Read the project in ``root``. Raises UsageError, or ProjectErrors with all that is wrong."""
    if not (root / "dbt_project.yml").is_file():
        raise UsageError(f"no dbt_project.yml in {root}", hint="name the project's folder with --project-dir DIR")
    reader = ProjectReader(root)
    reader.package(root, own=True)
    if reader.errors:
        raise ProjectErrors(reader.errors)
    return reader.project()


class ProjectReader(NodeCollector):
    """Collects the nodes and files of a project, and the mistakes in them."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.macros: list[MacroFile] = []
        self.docs: dict[tuple[str, str], DocsBlock] = {}
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
        package = PackageFolder(str(settings["name"]), folder, settings)
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
            where = Location(self.relative(file))
            hint = "write it in SQL; a function that SQL may call is Python: see udfs"
            self.errors.append(CuveeError("models in Python are not built", where=where, hint=hint))
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
        """Find nodes that a package describes or tests but that do not exist."""
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

    def _macros(self, file: Path, package: PackageFolder) -> None:
        self.macros.append(MacroFile(package.name, self.relative(file), self.text(file)))

    def _file_node(self, kind: str, file: Path, package: PackageFolder, text: str) -> None:
        fqn = (*package.inside(file, f"{kind}-paths").parts[:-1], file.stem)
        self.described(kind, file.stem, self.relative(file), package.name, fqn, text)

    def _snapshots(self, file: Path, package: PackageFolder) -> None:
        """Add the snapshots of one file. As in dbt, its name is part of their paths."""
        path, folders = self.relative(file), package.inside(file, "snapshot-paths").with_suffix("").parts
        with collected(self.errors):
            for name, text in snapshot_settings.blocks(self.text(file), path):
                self.described("snapshot", name, path, package.name, (*folders, name), text)

    def _docs(self, file: Path, package: str) -> None:
        with collected(self.errors):
            for block in docs_blocks(self.text(file), self.relative(file), package):
                if other := self.docs.get((package, block.name)):
                    self.clash("docs blocks", block.name, block.where, other.where)
                else:
                    self.docs[package, block.name] = block

    def _fixtures(self, package: PackageFolder) -> dict[str, tuple[str, str]]:
        """Return the rows for unit tests in files of their own: name → path and text."""
        found: dict[str, tuple[str, str]] = {}
        for place in package.places("test-paths"):
            for file in sorted((package.folder / place / _FIXTURES).rglob("*.*")):
                if file.suffix in (".csv", ".sql"):
                    path = self.relative(file)
                    if file.stem in found:
                        self.clash("fixtures", file.stem, Location(path), Location(found[file.stem][0]))
                    found[file.stem] = path, self.text(file)
        return found


def _seed_text(file: Path) -> str:
    """Return a short text for a seed's rows: the header, and a digest of the file."""
    content = file.read_bytes()
    header = content.split(b"\n", 1)[0].decode("utf-8", "replace").strip()
    return f"{header}\n{sha256(content).hexdigest()}"


def docs_blocks(text: str, path: str, package: str) -> Iterator[DocsBlock]:
    """Yield the docs blocks of a .md file: ``{% docs name %}…{% enddocs %}``. Raises ProjectError."""
    position = 0
    while opening := _OPENING.search(text, position):
        where = Location(path, text.count("\n", 0, opening.start()) + 1)
        closing = _CLOSING.search(text, opening.end())
        following = _OPENING.search(text, opening.end())
        if closing is None or (following and following.start() < closing.start()):
            raise ProjectError(f"the docs block {opening[1]} does not end", where=where, hint="{% enddocs %}")
        yield DocsBlock(package, opening[1], text[opening.end() : closing.start()].strip(), where)
        position = closing.end()
