"""Read the schema.yml files of a package: sources, tests, unit tests, exposures and properties of nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from udfs import yamlfile
from udfs.errors import CuveeError, Location
from warehouse.project.model_versions import ModelVersion, versions
from warehouse.project.node_collector import Declared, NodeCollector, Patch
from warehouse.project.project import Node, collected
from warehouse.project.properties import (
    TEST_SETTINGS,
    Test,
    columns,
    exposure,
    listed,
    merge,
    setting,
    source_config,
    test_hash,
    test_label,
    tested_template,
)
from warehouse.project.unit_properties import unit_test

#: Keys of a test other than its name.
_BESIDE = ("name", "config", "description")


class Schemas:
    """Reads the schema.yml files of one package into ``reader``; ``fixtures`` are the rows of its unit tests."""

    def __init__(self, reader: NodeCollector, package: str, fixtures: Mapping[str, tuple[str, str]]) -> None:
        self._reader, self._package, self._fixtures = reader, package, fixtures
        self._path = ""

    def read(self, text: str, path: str) -> None:
        """Read one file. Mistakes go to the reader's errors."""
        self._path = path
        content = None
        with collected(self._reader.errors):
            content = yamlfile.parse(text, path)
        if content is None:
            return
        if not isinstance(content, Mapping):
            self._wrong("a properties file is a mapping", Location(path, 1), "version: 2")
            return
        if self._reader.is_root(self._package):
            self._reader.stated.append((path, content))
        for section, kind in (("models", "model"), ("seeds", "seed"), ("snapshots", "snapshot")):
            for entry in self._entries(content, section):
                if kind == "model" and "versions" in entry:
                    self._versions(entry)
                else:
                    self._patch(entry, kind, str(entry["name"]))
        for entry in self._entries(content, "groups"):
            self._reader.groups[str(entry["name"])] = entry
        for source in self._entries(content, "sources"):
            for table in self._entries(source, "tables"):
                self._source(source, table)
        for entry in self._entries(content, "unit_tests") if self._reader.is_root(self._package) else ():
            self._unit_test(entry)  # as in dbt, of the project's own models only
        for entry in self._entries(content, "exposures"):
            self._exposure(entry)

    def _wrong(self, message: str, where: Location, hint: str | None = None) -> None:
        self._reader.errors.append(CuveeError(message, where=where, hint=hint))

    def _at(self, entry: Any, around: Any = None) -> Location:
        """Return the place of an entry, or that of what is ``around`` it, if it has no line of its own."""
        return Location(self._path, yamlfile.line_of(entry, yamlfile.line_of(around)))

    @property
    def _folders(self) -> tuple[str, ...]:
        """Return the folders of the file below that of the models: a part of the path of its tests."""
        return Path(self._path).parent.parts[1:]

    def _entries(self, content: Mapping[str, Any], section: str) -> Iterator[Mapping[str, Any]]:
        for entry in content.get(section) or ():
            if isinstance(entry, Mapping) and entry.get("name"):
                yield entry
            else:
                self._wrong(f"an entry of {section} needs a name", self._at(entry, content))

    # --- what is described ----------------------------------------------------------------------------------

    def _versions(self, entry: Mapping[str, Any]) -> None:
        """Read a model of several versions, each with a file of its own."""
        with collected(self._reader.errors):
            for version in versions(entry, self._path):
                self._patch(version.entry, "model", version.file, version)

    def _patch(self, entry: Mapping[str, Any], kind: str, name: str, version: ModelVersion | None = None) -> None:
        """Read a model, seed or snapshot. Its node is made of the file of this name."""
        where = self._at(entry)
        patch = Patch(entry, where, self._package, kind, version)
        for file in version.files if version else (name,):
            if other := self._reader.patches.get((kind, self._package, file)):
                self._wrong(f"{kind} {file} is described twice", where, f"also in {other.where}")
                return
            self._reader.patches[kind, self._package, file] = patch
        key = f"{version.model}.v{version.v}" if version else name
        self._tests(entry, f"{kind}.{self._package}.{key}")
        if kind == "snapshot" and entry.get("relation"):
            # A snapshot of all of a relation. Its text is on the line of its entry.
            text = "\n" * ((where.line or 1) - 1) + f"select * from {{{{ {entry['relation']} }}}}"
            self._reader.described(kind, name, self._path, self._package, (*self._folders, name), text)

    def _source(self, source: Mapping[str, Any], table: Mapping[str, Any]) -> None:
        names, reader, where = (str(source["name"]), str(table["name"])), self._reader, self._at(table)
        fqn = (*self._folders, *names)
        config = source_config(reader.folder_config("source", (self._package, *fqn)), source, table)
        if config.get("loaded_at_field") and config.get("loaded_at_query"):
            message = f"source {'.'.join(names)} has both loaded_at_field and loaded_at_query"
            self._wrong(message, where, "keep one")
        node = self._add(
            "source",
            fqn,
            table,
            where,
            key=".".join(names),
            config=config,
            columns=columns(table),
            source_name=names[0],
            schema=str(source.get("schema") or names[0]),
            identifier=str(table.get("identifier") or names[1]),
        )
        self._tests(table, node.id)

    def _add(
        self, kind: str, fqn: Sequence[str], entry: Mapping[str, Any], where: Location | None, **facts: Any
    ) -> Node:
        """Add a node that the file declares. The last of its names is its own."""
        return self._reader.add(kind, fqn[-1], Declared(self._path, self._package, fqn, entry, where), **facts)

    def _exposure(self, entry: Mapping[str, Any]) -> None:
        with collected(self._reader.errors):
            stated = exposure(entry, self._path)
            self._add("exposure", (*self._folders, str(entry["name"])), entry, stated.where, exposure=stated)

    def _unit_test(self, entry: Mapping[str, Any]) -> None:
        with collected(self._reader.errors):
            unit = unit_test(entry, self._path, self._fixtures)
            fqn = (*self._folders, unit.model, str(entry["name"]))
            key, attached = f"{unit.model}.{fqn[-1]}", f"model.{self._package}.{unit.model}"
            self._add("unit_test", fqn, entry, unit.where, key=key, attached=attached, unit=unit)

    # --- generic tests --------------------------------------------------------------------------------------

    def _tests(self, entry: Mapping[str, Any], attached: str) -> None:
        """Read the tests of a node and of its columns."""
        for spec in listed(entry.get("data_tests")) + listed(entry.get("tests")):
            self._test(spec, None, attached, self._at(spec, entry))
        for column in entry.get("columns") or ():
            if not isinstance(column, Mapping) or not column.get("name"):
                self._wrong("a column needs a name", self._at(column, entry))
                continue
            name = f'"{column["name"]}"' if column.get("quote") else str(column["name"])
            for spec in listed(column.get("data_tests")) + listed(column.get("tests")):
                self._test(spec, name, attached, self._at(spec, column))

    def _test(self, spec: Any, column: str | None, attached: str, where: Location) -> None:
        named = [key for key in spec if key not in _BESIDE] if isinstance(spec, Mapping) else []
        if isinstance(spec, str):
            name, body = spec, {}
        elif "test_name" in named:
            body = dict(spec)
            name = str(body.pop("test_name"))
        elif len(named) == 1:
            name = named[0]
            body = {**(spec[name] or {}), **{key: value for key, value in spec.items() if key != name}}
        else:
            self._wrong("a test is a name, or a name with arguments", where, "- not_null")
            return
        config = dict(body.pop("config", None) or {})
        config.update({setting(key): body.pop(key) for key in list(body) if key in TEST_SETTINGS})
        title = body.pop("name", None)
        body.pop("description", None)
        arguments = {**body.pop("arguments", {}), **body} if isinstance(body.get("arguments"), Mapping) else body
        test = Test(name, arguments, config, column, title, where)
        label = title or test_label(test, attached.split(".", 2)[2], source=attached.startswith("source."))
        key = f"{label}.{test_hash(label, test, tested_template(attached))}"
        if f"test.{self._package}.{key}" in self._reader.nodes:  # the same test with other settings
            key += "." + sha256(repr((arguments, config, attached)).encode()).hexdigest()[:10]
        fqn = (*self._folders, label)
        config = merge(self._reader.folder_config("test", (self._package, *fqn)), config)
        self._add("test", fqn, {}, None, key=key, config=config, test=test, attached=attached)
