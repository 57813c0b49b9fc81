"""Unit tests in schema.yml: the rows that a model is given, and the rows that it should return."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import PurePosixPath
from typing import Any

from udfs import yamlfile
from udfs.errors import Location, ProjectError, did_you_mean

_ENTRY = ("name", "description", "model", "given", "expect", "overrides", "config")
_OVERRIDES = ("macros", "vars", "env_vars")
_ROWS = ("rows", "format", "fixture")
_FORMATS = ("dict", "csv", "sql")


class UnitTestError(ProjectError):
    """A unit test cannot be understood, or not be run."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows by column name, or a query for them. Both are None where a seed's own rows are meant."""

    rows: tuple[Mapping[str, Any], ...] | None
    sql: str | None
    where: Location
    format: str = "dict"
    fixture: str | None = None  # the file that they are in


@dataclass(frozen=True, slots=True)
class Given:
    """The rows of one input: ``ref('orders')``, ``source('raw', 'documents')`` or ``this``."""

    input: str
    rows: Rows


@dataclass(frozen=True, slots=True)
class UnitTest:
    """A unit test of ``model``. ``macros`` are results by name; Rows are the answers of an expensive function."""

    model: str
    given: tuple[Given, ...]
    expect: Rows
    macros: Mapping[str, Any]
    vars: Mapping[str, Any]
    env_vars: Mapping[str, Any]
    where: Location

    @property
    def terms(self) -> list[Any]:
        """Return everything that can change the outcome, as plain values."""
        given = [[each.input, each.rows.rows, each.rows.sql] for each in self.given]
        macros = {name: [each.rows, each.sql] if isinstance(each, Rows) else each for name, each in self.macros.items()}
        return [given, self.expect.rows, self.expect.sql, macros, self.vars, self.env_vars]


def unit_test(entry: Mapping[str, Any], path: str, fixtures: Mapping[str, tuple[str, str]]) -> UnitTest:
    """Read an entry of ``unit_tests:``.

    ``fixtures`` are the files of tests/fixtures: name → path and text. Raises UnitTestError, located.
    """
    where = Location(path, yamlfile.line_of(entry))
    _known(entry, _ENTRY, "a unit test", where)
    for key in ("model", "given", "expect"):
        if entry.get(key) is None:
            hint = "given: [{input: ref('orders'), rows: [{id: 1}]}]" if key == "given" else None
            raise UnitTestError(f"unit test {entry['name']} has no {key}", where=where, hint=hint)
    given = []
    if not isinstance(entry["given"], list):
        raise UnitTestError("given is a list", where=where, hint="given: [{input: ref('orders'), rows: [{id: 1}]}]")
    for each in entry["given"]:
        here = Location(path, yamlfile.line_of(each, where.line or 1))
        if not isinstance(each, Mapping) or not isinstance(each.get("input"), str):
            raise UnitTestError("what is given needs an input", where=here, hint="- input: ref('orders')")
        _known(each, ("input", *_ROWS), "what is given", here)
        plain = each.get("rows") is None and each.get("fixture") is None and each.get("format") in (None, "dict")
        given.append(Given(each["input"].strip(), Rows(None, None, here) if plain else rows(each, here, fixtures)))
    if not isinstance(entry["expect"], Mapping):
        raise UnitTestError("expect is a mapping", where=where, hint="expect: {rows: [{id: 1}]}")
    here = Location(path, yamlfile.line_of(entry["expect"], where.line or 1))
    _known(entry["expect"], _ROWS, "what is expected", here)
    expect = rows(entry["expect"], here, fixtures)
    overrides = entry.get("overrides") or {}
    _known(overrides, _OVERRIDES, "overrides", where)
    macros = {
        name: rows(said, Location(path, said.line), fixtures)
        if isinstance(said, yamlfile.Mapping) and said.keys() & set(_ROWS) and said.keys() <= set(_ROWS)
        else said
        for name, said in (overrides.get("macros") or {}).items()
    }
    return UnitTest(
        model=str(entry["model"]),
        given=tuple(given),
        expect=expect,
        macros=macros,
        vars=dict(overrides.get("vars") or {}),
        env_vars=dict(overrides.get("env_vars") or {}),
        where=where,
    )


def rows(entry: Mapping[str, Any], where: Location, fixtures: Mapping[str, tuple[str, str]]) -> Rows:
    """Return the rows that ``rows``, ``format`` and ``fixture`` of an entry name. Raises UnitTestError."""
    kind = str(entry.get("format") or "dict")
    if kind not in _FORMATS:
        raise UnitTestError(f"there is no format {kind!r}", where=where, hint=did_you_mean(kind, _FORMATS))
    given, name = entry.get("rows"), entry.get("fixture")
    if given is not None and name is not None:
        raise UnitTestError("rows and fixture exclude each other", where=where, hint="keep one")
    if name is not None:
        if kind == "dict":
            raise UnitTestError(f"the fixture {name} needs a format", where=where, hint="format: csv, or format: sql")
        if str(name) not in fixtures:
            hint = did_you_mean(str(name), fixtures) or f"write tests/fixtures/{name}.{kind}"
            raise UnitTestError(f"no fixture is named {name!r}", where=where, hint=hint)
        path, given = fixtures[str(name)]
        if PurePosixPath(path).suffix != f".{kind}":
            raise UnitTestError(f"format is {kind}, but the fixture is {path}", where=where)
        where = Location(path, 1)
    if kind == "dict":
        if not isinstance(given, list) or not all(isinstance(row, Mapping) for row in given):
            raise UnitTestError("rows are a list of mappings", where=where, hint="rows: [{id: 1, name: a}]")
        return Rows(tuple({str(name): value for name, value in row.items()} for row in given), None, where)
    if not isinstance(given, str):
        raise UnitTestError(f"rows of the format {kind} are a text", where=where, hint="rows: |")
    if kind == "sql":
        return Rows(None, given.strip().rstrip(";"), where, kind, name)
    return Rows(tuple(_csv(given, where)), None, where, kind, name)


def _csv(text: str, where: Location) -> list[dict[str, Any]]:
    """Return the rows of a CSV text. An empty value is NULL."""
    found = []
    reader = csv.DictReader(StringIO(text.strip()), skipinitialspace=True)
    for row in reader:
        if None in row or None in row.values():
            names = len(reader.fieldnames or ())
            message = f"line {reader.line_num} of the CSV has not the {names} values of its header"
            raise UnitTestError(message, where=where)
        found.append({name.strip(): None if value == "" else value for name, value in row.items()})
    return found


def _known(entry: Any, known: Sequence[str], what: str, where: Location) -> None:
    if not isinstance(entry, Mapping):
        raise UnitTestError(f"{what}: not a mapping", where=where)
    for key in entry:
        if key not in known:
            raise UnitTestError(f"{what} has no {key!r}", where=where, hint=did_you_mean(str(key), known))
