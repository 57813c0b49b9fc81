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
from warehouse.project.known_settings import Judge, Templates, WrittenText
from warehouse.project.node_collector import NodeCollector, PackageFolder
from warehouse.project.package import COPY, NAME, is_used, package_folder
from warehouse.project.project import DocsBlock, MacroFile, Project, ProjectErrors, collected
from warehouse.project.properties import listed
from warehouse.project.schemas import Schemas

#: The folder below the tests' that holds rows for unit tests.
_FIXTURES = "fixtures"
_YAML_FOLDERS = ("model-paths", "seed-paths", "snapshot-paths", "macro-paths", "test-paths", "analysis-paths")
_OPENING = re.compile(r"\{%-?\s*docs\s+(\w+)\s*-?%\}")
_CLOSING = re.compile(r"\{%-?\s*enddocs\s*-?%\}")


def load(root: Path, given: Mapping[str, Any] | None = None) -> Project:
    """Read the project in ``root``. Raises UsageError, or ProjectErrors with all that is wrong.

    ``given`` are the vars of the command line, which are judged like those of the project.
    """
    if not (root / "dbt_project.yml").is_file():
        hint = "write a project here: cuvee init; or name the folder of one: --project-dir DIR"
        raise UsageError(f"no dbt_project.yml in {root.resolve()}", hint=hint)
    reader = ProjectReader(root)
    reader.package(root, own=True)
    reader.judge_settings(given or {})
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
        self.warnings: list[str] = []

    def project(self) -> Project:
        own = self._packages[0].settings
        profiles = self.root / "profiles.yml"
        return Project(
            root=self.root,
            name=self._packages[0].name,
            profile=own.get("profile"),
            vars=own.get("vars") or {},
            package_vars={package.name: package.settings.get("vars") or {} for package in self._packages[1:]},
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
            warnings=tuple(self.warnings),
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
        if own and package.name == NAME and folder.resolve() != package_folder():
            hint = "give it another name; Cuvée's own package is part of every project that uses it"
            self.errors.append(
                CuveeError(f"no other project can be named {NAME}", where=_key(settings, path), hint=hint)
            )
            return
        self._packages.append(package)
        for file in package.files("macro-paths", ".sql"):
            self._macros(file, package)
        if own:
            installed = folder / str(settings.get("packages-install-path", "dbt_packages"))
            for inner in sorted(installed.glob("*/dbt_project.yml")):
                if inner.parent.name != NAME:
                    self.package(inner.parent, own=False)
            self._shipped(package, installed)
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

    def _shipped(self, project: PackageFolder, installed: Path) -> None:
        """Read Cuvée's package, if the project uses it and is not it."""
        if project.name == NAME:
            return
        texts = [file.read_text(encoding="utf-8", errors="replace") for file in _written(project)]
        refs = {file.stem for key in ("model-paths", "seed-paths") for file in project.files(key, ".sql", ".csv")}
        if not is_used(texts, refs | {node.name for node in self.nodes.values()}):
            return
        shipped = package_folder()
        for copy in (self.root / COPY, installed / NAME):
            stated = copy / "dbt_project.yml"
            if stated.is_file() and stated.read_bytes() != (shipped / "dbt_project.yml").read_bytes():
                self.warnings.append(
                    f"{copy} is a copy of another version of Cuvée's package; write it again: cuvee deps"
                )
        self.package(shipped, own=False)

    def judge_settings(self, given: Mapping[str, Any]) -> None:
        """Find what nothing reads among the settings of the project's own files and the vars that are ``given``."""
        if not self._packages or self._packages[0].name == NAME:
            return
        own, *others = self._packages
        written = [WrittenText(self.relative(file), file.read_text("utf-8", "replace")) for file in _written(own)]
        if (profiles := self.root / "profiles.yml").is_file():
            written.append(WrittenText(profiles.name, profiles.read_text("utf-8", "replace")))
        folders = {package.name: package.folder for package in others} | {NAME: package_folder()}
        declared = frozenset(name for package in others for name in package.settings.get("vars") or ())
        judge = Judge(Templates(written, tuple(folders.values()), declared))
        judge.project(own.settings, "dbt_project.yml", {own.name, *folders})
        judge.variables(dict(given), "--vars")
        for path, content in self.stated:
            judge.schema(content, path)
        for text in written:
            if text.path.endswith(".sql"):
                judge.calls(text)
        self.errors += judge.errors
        self.warnings += judge.warnings

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
        if file.is_relative_to(self.root):
            return file.relative_to(self.root).as_posix()
        return f"dbt_packages/{NAME}/{file.relative_to(package_folder()).as_posix()}"

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


def _key(settings: Mapping[str, Any], path: str) -> Location:
    return Location(path, yamlfile.line_of(settings))


def _written(project: PackageFolder) -> Iterator[Path]:
    """Yield the files of a project in which it can name something of a package."""
    yield from (
        project.folder / name for name in ("dbt_project.yml", "packages.yml") if (project.folder / name).is_file()
    )
    for key in _YAML_FOLDERS:
        yield from project.files(key, ".sql", ".yml", ".yaml")


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
