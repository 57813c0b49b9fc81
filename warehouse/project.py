"""A dbt project as plain values: what the files say, before any template is rendered.

    project = project.load(Path("sql"))
    project.nodes["model.shop.orders"].text

Reading collects every mistake it can find and raises them together (``ProjectErrors``), so that a user mends a
project in one go. Templates and SQL are judged later, by ``render`` and ``graph``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from udfs.errors import CuveeError, Location, UsageError, did_you_mean
from warehouse import yamlfile
from warehouse.documentation import DocsBlock, blocks
from warehouse.exposures import Exposure, exposure
from warehouse.properties import (
    MAPPINGS,
    SETTINGS,
    TEST_SETTINGS,
    Column,
    Test,
    columns,
    constraints,
    entry_config,
    listed,
    merge,
    setting,
    source_config,
    test_hash,
    test_label,
    tested_template,
)
from warehouse.unit_properties import UnitTest, unit_test

#: The folder below the tests' that holds rows for unit tests.
_FIXTURES = "fixtures"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$.]*\Z")


class ProjectErrors(CuveeError):
    """Everything that is wrong with a project, at once."""

    def __init__(self, errors: Sequence[CuveeError]) -> None:
        head = "" if len(errors) == 1 else f"{len(errors)} problems in the project\n\n"
        super().__init__(head + "\n\n".join(str(error) for error in errors))
        self.errors = tuple(errors)


class ProjectNotFoundError(UsageError):
    """There is no dbt_project.yml where one was looked for."""


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
    columns: tuple[Column, ...] = ()
    constraints: tuple[Mapping[str, Any], ...] = ()
    described_at: Location | None = None
    test: Test | None = None  # of a generic test
    attached: str | None = None  # the node that a generic test or a unit test tests
    unit: UnitTest | None = None  # of a unit test
    exposure: Exposure | None = None
    source_name: str | None = None
    schema: str | None = None
    identifier: str | None = None

    @property
    def where(self) -> Location:
        stated = self.test or self.unit or self.exposure
        return stated.where if stated else Location(self.path)


@dataclass(frozen=True, slots=True)
class MacroFile:
    """A file of macros; the templates inside are found by the renderer."""

    package: str
    path: str
    text: str


@dataclass(frozen=True, slots=True)
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

    def of_kind(self, *kinds: str) -> Iterator[Node]:
        return (node for node in self.nodes.values() if node.kind in kinds)


def load(root: Path) -> Project:
    """Read the project in ``root``. Raises ProjectNotFoundError, or ProjectErrors with all that is wrong."""
    if not (root / "dbt_project.yml").is_file():
        raise ProjectNotFoundError(
            f"no dbt_project.yml in {root}", hint="name the project's folder with --project-dir DIR"
        )
    reader = _Reader(root)
    reader.package(root, own=True)
    if reader.errors:
        raise ProjectErrors(reader.errors)
    return reader.project()


@dataclass(slots=True)
class _Patch:
    """What a schema.yml says about one model, seed or snapshot."""

    entry: Mapping[str, Any]
    path: str
    package: str
    kind: str
    used: bool = False


class _Reader:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.errors: list[CuveeError] = []
        self.nodes: dict[str, Node] = {}
        self.macros: list[MacroFile] = []
        self.docs: dict[tuple[str, str], DocsBlock] = {}
        self.names: list[str] = []
        self.vars: dict[str, Any] = {}
        self.settings: list[Mapping[str, Any]] = []
        self.patches: dict[tuple[str, str, str], _Patch] = {}
        self.own: Mapping[str, Any] = {}

    def project(self) -> Project:
        own = self.own
        profiles = self.root / "profiles.yml"
        return Project(
            root=self.root,
            name=self.names[0],
            profile=own.get("profile"),
            vars=self.vars,
            nodes=self.nodes,
            macros=tuple(self.macros),
            packages=tuple(self.names),
            dispatch={
                str(entry.get("macro_namespace")): tuple(entry.get("search_order") or ())
                for entry in own.get("dispatch") or ()
            },
            profiles=yamlfile.parse(profiles.read_text(), "profiles.yml") or {} if profiles.is_file() else {},
            on_run_start=tuple(listed(own.get("on-run-start"))),
            on_run_end=tuple(listed(own.get("on-run-end"))),
            flags=own.get("flags") or {},
            docs=self.docs,
        )

    # --- packages -------------------------------------------------------------------------------------------

    def package(self, folder: Path, *, own: bool) -> None:
        """Read one package; the project's own first, then those below its dbt_packages/."""
        path = self._relative(folder / "dbt_project.yml")
        try:
            settings = yamlfile.parse((folder / "dbt_project.yml").read_text(encoding="utf-8"), path) or {}
        except CuveeError as error:
            self.errors.append(error)
            return
        if not isinstance(settings, Mapping) or not settings.get("name"):
            self.errors.append(CuveeError("a project needs a name", where=Location(path, 1), hint="name: my_project"))
            return
        name = str(settings["name"])
        if own:
            self.own = settings
        self.names.append(name)
        self.settings.insert(0, settings) if own else self.settings.append(settings)
        variables = dict(settings.get("vars") or {})
        self.vars = {**variables, **self.vars} if own else {**self.vars, name: {**variables, **self._scoped(name)}}
        for file in self._files(folder, settings, "macro-paths", ["macros"], ".sql"):
            self.macros.append(MacroFile(name, self._relative(file), self._text(file)))
        if own:
            installed = folder / str(settings.get("packages-install-path", "dbt_packages"))
            for inner in sorted(installed.glob("*/dbt_project.yml")):
                self.package(inner.parent, own=False)
        model_paths = settings.get("model-paths") or settings.get("source-paths") or ["models"]
        yaml_folders = ["model-paths", "seed-paths", "snapshot-paths", "macro-paths", "test-paths", "analysis-paths"]
        defaults = {"model-paths": list(model_paths), "seed-paths": list(settings.get("data-paths") or ["seeds"])}
        for key in ["docs-paths"] if settings.get("docs-paths") else yaml_folders:
            for file in self._files(folder, settings, key, defaults.get(key, [key[:-6] + "s"]), ".md"):
                self._docs(file, name)
        fixtures = self._fixtures(folder, settings)
        for key in yaml_folders:
            for suffix in (".yml", ".yaml"):
                for file in self._files(folder, settings, key, defaults.get(key, [key[:-6] + "s"]), suffix):
                    self._properties(file, name, fixtures)
        for file in self._files(folder, settings, "model-paths", defaults["model-paths"], ".sql"):
            self._file_node("model", file, name, folder, defaults["model-paths"])
        for file in self._files(folder, settings, "seed-paths", defaults["seed-paths"], ".csv"):
            self._file_node("seed", file, name, folder, list(settings.get("seed-paths") or defaults["seed-paths"]))
        for file in self._files(folder, settings, "test-paths", ["tests"], ".sql"):
            places = list(settings.get("test-paths") or ["tests"])
            if "generic" in file.relative_to(folder).parts[:-1]:
                self.macros.append(MacroFile(name, self._relative(file), self._text(file)))
            elif _inside(file, folder, places).parts[0] != _FIXTURES:
                self._file_node("test", file, name, folder, places)
        for file in self._files(folder, settings, "snapshot-paths", ["snapshots"], ".sql"):
            self._snapshots(file, name, folder, list(settings.get("snapshot-paths") or ["snapshots"]))
        self._attach_unit_tests(name)
        for patch in self.patches.values():
            if not patch.used and patch.package == name:
                known = [node.name for node in self.nodes.values() if node.kind == patch.kind]
                self.errors.append(
                    CuveeError(
                        f"describes {patch.kind} {patch.entry['name']!r}, which does not exist",
                        where=Location(patch.path, yamlfile.line_of(patch.entry)),
                        hint=did_you_mean(str(patch.entry["name"]), known),
                    )
                )

    def _scoped(self, package: str) -> Mapping[str, Any]:
        scoped = self.vars.get(package)
        return scoped if isinstance(scoped, Mapping) else {}

    def _files(
        self, folder: Path, settings: Mapping[str, Any], key: str, default: list[str], suffix: str
    ) -> Iterator[Path]:
        for place in settings.get(key) or default:
            if (folder / place).is_dir():
                yield from sorted(file for file in (folder / place).rglob(f"*{suffix}") if file.is_file())

    def _text(self, file: Path) -> str:
        try:
            return file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            self.errors.append(CuveeError(f"not UTF-8 text: {error.reason}", where=Location(self._relative(file))))
            return ""

    def _relative(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix()

    # --- nodes of their own files ---------------------------------------------------------------------------

    def _file_node(self, kind: str, file: Path, package: str, folder: Path, places: Sequence[str]) -> None:
        fqn = (package, *_inside(file, folder, places).parts[:-1], file.stem)
        text = _seed_text(file) if kind == "seed" else self._text(file)
        self._node(kind, file.stem, self._relative(file), package, fqn, text)

    def _snapshots(self, file: Path, package: str, folder: Path, places: Sequence[str]) -> None:
        """The snapshots of one file; as in dbt, its name is part of their paths."""
        from warehouse.snapshot_settings import blocks

        path = self._relative(file)
        try:
            for name, text in blocks(self._text(file), path):
                fqn = (package, *_inside(file, folder, places).with_suffix("").parts, name)
                self._node("snapshot", name, path, package, fqn, text)
        except CuveeError as error:
            self.errors.append(error)

    def _node(self, kind: str, name: str, path: str, package: str, fqn: tuple[str, ...], text: str) -> None:
        node_id = f"{kind}.{package}.{name}"
        if not _NAME.match(name):
            self.errors.append(
                CuveeError(f"{name!r} cannot name a {kind}", where=Location(path), hint="letters, digits, underscores")
            )
            return
        if node_id in self.nodes:
            self.errors.append(
                CuveeError(
                    f"two {kind}s are named {name}",
                    where=Location(path),
                    hint=f"the other is {self.nodes[node_id].path}",
                )
            )
            return
        section = {"model": "models", "seed": "seeds", "snapshot": "snapshots", "test": "data_tests"}[kind]
        patch = self.patches.get((kind, package, name))
        entry: Mapping[str, Any] = {}
        if patch:
            patch.used, entry = True, patch.entry
        config = merge(self._folder_config(section, fqn), entry_config(entry))
        self.nodes[node_id] = Node(
            id=node_id,
            kind=kind,
            name=name,
            package=package,
            path=path,
            fqn=fqn,
            text=text,
            config=config,
            description=str(entry.get("description") or ""),
            columns=columns(entry),
            constraints=constraints(entry),
            described_at=Location(patch.path, yamlfile.line_of(entry)) if patch else None,
        )

    def _folder_config(self, section: str, fqn: tuple[str, ...]) -> Mapping[str, Any]:
        """What the ``models:`` (…) block of dbt_project.yml says for a node; the outer project's word is last."""
        config: Mapping[str, Any] = {}
        for settings in reversed(self.settings):
            blocks = [settings.get(section)]
            if section == "data_tests":
                blocks.insert(0, settings.get("tests"))
            for block in blocks:
                level = block
                for step in ("", *fqn):
                    level = level if step == "" else level.get(step)
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

    # --- schema.yml -----------------------------------------------------------------------------------------

    def _properties(self, file: Path, package: str, fixtures: Mapping[str, tuple[str, str]]) -> None:
        path = self._relative(file)
        try:
            content = yamlfile.parse(self._text(file), path)
        except CuveeError as error:
            self.errors.append(error)
            return
        if content is None:
            return
        if not isinstance(content, Mapping):
            self.errors.append(CuveeError("a properties file is a mapping", where=Location(path, 1), hint="version: 2"))
            return
        for section, kind in (("models", "model"), ("seeds", "seed"), ("snapshots", "snapshot")):
            for entry in self._entries(content, section, path):
                key = (kind, package, str(entry["name"]))
                if key in self.patches:
                    self.errors.append(
                        CuveeError(
                            f"{kind} {entry['name']} is described twice",
                            where=Location(path, yamlfile.line_of(entry)),
                            hint=f"also in {self.patches[key].path}:{yamlfile.line_of(self.patches[key].entry)}",
                        )
                    )
                    continue
                self.patches[key] = _Patch(entry, path, package, kind)
                self._tests(entry, f"{kind}.{package}.{entry['name']}", package, path)
                if kind == "snapshot" and entry.get("relation"):
                    self._whole_relation(entry, package, path)
        for source in self._entries(content, "sources", path):
            for table in self._entries(source, "tables", path):
                self._source(source, table, package, path)
        for entry in self._entries(content, "unit_tests", path):
            self._unit_test(entry, package, path, fixtures)
        for entry in self._entries(content, "exposures", path):
            self._exposure(entry, package, path)

    def _whole_relation(self, entry: Mapping[str, Any], package: str, path: str) -> None:
        """A snapshot that schema.yml makes of all of a relation. Its text stands on the line of its entry."""
        name = str(entry["name"])
        text = "\n" * (yamlfile.line_of(entry) - 1) + f"select * from {{{{ {entry['relation']} }}}}"
        self._node("snapshot", name, path, package, (package, *Path(path).parent.parts[1:], name), text)

    def _entries(self, content: Mapping[str, Any], section: str, path: str) -> Iterator[Mapping[str, Any]]:
        for entry in content.get(section) or ():
            if isinstance(entry, Mapping) and entry.get("name"):
                yield entry
            else:
                line = yamlfile.line_of(entry, yamlfile.line_of(content))
                self.errors.append(CuveeError(f"an entry of {section} needs a name", where=Location(path, line)))

    def _source(self, source: Mapping[str, Any], table: Mapping[str, Any], package: str, path: str) -> None:
        name = f"{source['name']}.{table['name']}"
        node_id = f"source.{package}.{name}"
        fqn = (package, *Path(path).parent.parts[1:], str(source["name"]), str(table["name"]))
        config = source_config(self._folder_config("sources", fqn), source, table)
        if config.get("loaded_at_field") and config.get("loaded_at_query"):
            self.errors.append(
                CuveeError(
                    f"source {name} has both loaded_at_field and loaded_at_query",
                    where=Location(path, yamlfile.line_of(table)),
                    hint="keep one",
                )
            )
        self.nodes[node_id] = Node(
            id=node_id,
            kind="source",
            name=str(table["name"]),
            package=package,
            path=path,
            fqn=fqn,
            config=config,
            description=str(table.get("description") or ""),
            columns=columns(table),
            described_at=Location(path, yamlfile.line_of(table)),
            source_name=str(source["name"]),
            schema=str(source.get("schema") or source["name"]),
            identifier=str(table.get("identifier") or table["name"]),
        )
        self._tests(table, node_id, package, path)

    # --- exposures and docs blocks --------------------------------------------------------------------------

    def _exposure(self, entry: Mapping[str, Any], package: str, path: str) -> None:
        try:
            stated = exposure(entry, path)
        except CuveeError as error:
            self.errors.append(error)
            return
        name = str(entry["name"])
        node_id = f"exposure.{package}.{name}"
        if node_id in self.nodes:
            hint = f"the other is {self.nodes[node_id].where}"
            self.errors.append(CuveeError(f"two exposures are named {name}", where=stated.where, hint=hint))
            return
        fqn = (package, *Path(path).parent.parts[1:], name)
        self.nodes[node_id] = Node(
            id=node_id,
            kind="exposure",
            name=name,
            package=package,
            path=path,
            fqn=fqn,
            config=merge(self._folder_config("exposures", fqn), entry_config(entry)),
            description=str(entry.get("description") or ""),
            described_at=stated.where,
            exposure=stated,
        )

    def _docs(self, file: Path, package: str) -> None:
        try:
            for block in blocks(self._text(file), self._relative(file), package):
                if other := self.docs.get((package, block.name)):
                    message = f"two docs blocks are named {block.name}"
                    raise CuveeError(message, where=block.where, hint=f"the other is {other.where}")
                self.docs[package, block.name] = block
        except CuveeError as error:
            self.errors.append(error)

    # --- unit tests -----------------------------------------------------------------------------------------

    def _fixtures(self, folder: Path, settings: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
        """Rows for unit tests in files of their own: name → path and text."""
        found: dict[str, tuple[str, str]] = {}
        for place in settings.get("test-paths") or ["tests"]:
            for file in sorted((folder / place / _FIXTURES).rglob("*.*")):
                if file.suffix in (".csv", ".sql"):
                    path = self._relative(file)
                    if file.stem in found:
                        hint = f"the other is {found[file.stem][0]}"
                        message = f"two fixtures are named {file.stem}"
                        self.errors.append(CuveeError(message, where=Location(path), hint=hint))
                    found[file.stem] = path, self._text(file)
        return found

    def _unit_test(
        self, entry: Mapping[str, Any], package: str, path: str, fixtures: Mapping[str, tuple[str, str]]
    ) -> None:
        try:
            unit = unit_test(entry, path, fixtures)
        except CuveeError as error:
            self.errors.append(error)
            return
        name = str(entry["name"])
        node_id = f"unit_test.{package}.{unit.model}.{name}"
        if node_id in self.nodes:
            self.errors.append(
                CuveeError(
                    f"two unit tests of {unit.model} are named {name}",
                    where=unit.where,
                    hint=f"the other is {self.nodes[node_id].where}",
                )
            )
            return
        fqn = (package, *Path(path).parent.parts[1:], unit.model, name)
        self.nodes[node_id] = Node(
            id=node_id,
            kind="unit_test",
            name=name,
            package=package,
            path=path,
            fqn=fqn,
            config=merge(self._folder_config("unit_tests", fqn), entry_config(entry)),
            description=str(entry.get("description") or ""),
            described_at=unit.where,
            attached=f"model.{package}.{unit.model}",
            unit=unit,
        )

    def _attach_unit_tests(self, package: str) -> None:
        """Find the models of a package's unit tests."""
        models = [node.name for node in self.nodes.values() if node.kind == "model" and node.package == package]
        for node in self.nodes.values():
            if node.unit and node.package == package and node.unit.model not in models:
                self.errors.append(
                    CuveeError(
                        f"unit test {node.name} tests model {node.unit.model!r}, which does not exist",
                        where=node.where,
                        hint=did_you_mean(node.unit.model, models),
                    )
                )

    # --- generic tests --------------------------------------------------------------------------------------

    def _tests(self, entry: Mapping[str, Any], attached: str, package: str, path: str) -> None:
        for spec in listed(entry.get("data_tests")) + listed(entry.get("tests")):
            self._test(spec, None, attached, package, path, yamlfile.line_of(spec, yamlfile.line_of(entry)))
        for column in entry.get("columns") or ():
            if not isinstance(column, Mapping) or not column.get("name"):
                line = yamlfile.line_of(column, yamlfile.line_of(entry))
                self.errors.append(CuveeError("a column needs a name", where=Location(path, line)))
                continue
            for spec in listed(column.get("data_tests")) + listed(column.get("tests")):
                line = yamlfile.line_of(spec, yamlfile.line_of(column))
                self._test(spec, column, attached, package, path, line)

    def _test(
        self, spec: Any, column: Mapping[str, Any] | None, attached: str, package: str, path: str, line: int
    ) -> None:
        where = Location(path, line)
        if isinstance(spec, str):
            name, body = spec, {}
        elif isinstance(spec, Mapping) and "test_name" in spec:
            body = dict(spec)
            name = str(body.pop("test_name"))
        elif (
            isinstance(spec, Mapping)
            and len([key for key in spec if key not in ("name", "config", "description")]) == 1
        ):
            name = next(key for key in spec if key not in ("name", "config", "description"))
            outer = {key: value for key, value in spec.items() if key != name}
            body = {**(spec[name] or {}), **outer}
        else:
            self.errors.append(CuveeError("a test is a name, or a name with arguments", where=where, hint="- not_null"))
            return
        body = dict(body)
        config = dict(body.pop("config", None) or {})
        config.update({setting(key): body.pop(key) for key in list(body) if key in TEST_SETTINGS})
        title = body.pop("name", None)
        body.pop("description", None)
        arguments = {**body.pop("arguments", {}), **body} if isinstance(body.get("arguments"), Mapping) else body
        column_name = str(column["name"]) if column else None
        if column and column.get("quote"):
            column_name = f'"{column_name}"'
        test = Test(name, arguments, config, column_name, title, where)
        target = attached.split(".", 2)[2]
        source = attached.startswith("source.")
        label = title or test_label(test, target, source=source)
        node_id = f"test.{package}.{label}.{test_hash(label, test, tested_template(attached))}"
        if node_id in self.nodes:  # the same test with other settings
            node_id += "." + sha256(repr((arguments, config, attached)).encode()).hexdigest()[:10]
        fqn = (package, *Path(path).parent.parts[1:], label)
        self.nodes[node_id] = Node(
            id=node_id,
            kind="test",
            name=label,
            package=package,
            path=path,
            fqn=fqn,
            config=merge(self._folder_config("data_tests", fqn), config),
            test=test,
            attached=attached,
        )


def _inside(file: Path, folder: Path, places: Sequence[str]) -> Path:
    """The path of a file below the first of a package's ``places`` that holds it."""
    return next((file.relative_to(folder / p) for p in places if file.is_relative_to(folder / p)), Path(file.name))


def _seed_text(file: Path) -> str:
    """What stands for a seed's rows: its header, and a digest of all of it."""
    content = file.read_bytes()
    header = content.split(b"\n", 1)[0].decode("utf-8", "replace").strip()
    return f"{header}\n{sha256(content).hexdigest()}"


def with_config(node: Node, config: Mapping[str, Any]) -> Node:
    """The node with its final config."""
    return replace(node, config=config)
