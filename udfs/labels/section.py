"""Settings read from a YAML file one by one, so that each mistake is shown with its line and the nearest right name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from udfs import yamlfile
from udfs.errors import CuveeError, Location, did_you_mean

T = TypeVar("T")


class Section:
    """One mapping of a settings file. Every reading method names a key that the section may have.

    ``done`` refuses keys that were not read. ``title`` is how messages call the section; ``error`` is raised.
    """

    def __init__(self, content: object, path: Path, title: str, error: type[CuveeError], line: int = 1) -> None:
        self.path = path
        self.title = title
        self.error = error
        if not isinstance(content, yamlfile.Mapping):
            raise error(f"{title} is a mapping of settings, not {_kind(content)}", where=Location(str(path), line))
        self._content = content
        self._asked: set[str] = set()
        if repeated := content.repeated():
            raise error(f"{title} has {repeated[0]!r} twice", where=Location(str(path), repeated[1]))

    @classmethod
    def of_file(cls, path: Path, title: str, error: type[CuveeError]) -> Section:
        """Read the mapping that a YAML file is. Raises ``error`` for a file that cannot be read."""
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise error("not UTF-8 text", where=Location(str(path))) from None
        except OSError as problem:
            raise error(f"cannot be read: {problem.strerror}", where=Location(str(path))) from problem
        try:
            return cls(yamlfile.parse(text, str(path)), path, title, error)
        except yamlfile.YamlError as problem:
            raise error(problem.message, where=problem.where) from problem

    def where(self, key: str | None = None) -> Location:
        """Return the place of the section, or of one of its keys."""
        return Location(str(self.path), self._content.line_of(key) if key else self._content.line)

    def fail(self, key: str | None, message: str, hint: str | None = None) -> CuveeError:
        """Make the error to raise about a key."""
        return self.error(message, where=self.where(key), hint=hint)

    def has(self, key: str) -> bool:
        """Return whether the key is there with a value."""
        self._asked.add(key)
        return self._content.get(key) is not None

    def text(self, key: str, default: str | None = None) -> str:
        """Read a text; a number is taken as it is written. Required unless there is a default."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise self.fail(key, f"{key} is a text, not {_kind(value)}")
        written = self._content.written(key)
        return str(value) if isinstance(value, str) or not isinstance(written, str) else written

    def texts(self, key: str) -> tuple[str, ...] | None:
        """Read a list of texts, or None."""
        if not self.has(key):
            return None
        value = self._content[key]
        if not isinstance(value, list) or not all(isinstance(each, (str, int)) for each in value):
            raise self.fail(key, f"{key} is a list of texts", hint=f"write {key}: [one, two]")
        written = self._content.written(key)
        return written if isinstance(written, tuple) else ()

    def choice(self, key: str, known: Sequence[str], default: str | None = None) -> str:
        """Read one of the names in ``known``."""
        value = self.text(key, default)
        if value not in known:
            raise self.fail(key, f"no {key} {value!r}", did_you_mean(value, known))
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Read true or false."""
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise self.fail(key, f"{key} is true or false, not {value!r}")
        return value

    def integer(self, key: str, default: int | None, low: int = 0) -> int:
        """Read a whole number of at least ``low``."""
        value = self._value(key, default)
        if isinstance(value, str) and value.replace("_", "").isdecimal():
            value = int(value)  # PyYAML reads 30_000 as a number only without a leading zero
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise self.fail(key, f"{key} is a whole number of at least {low}, not {value!r}")
        return value

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """Read a number from ``low`` to ``high``."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise self.fail(key, f"{key} is a number from {low:g} to {high:g}, not {value!r}")
        return float(value)

    def json(self, key: str) -> dict[str, Any]:
        """Read a mapping that JSON can hold."""
        try:
            content = json.loads(json.dumps(self._value(key, None), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise self.fail(key, f"{key} has a value that JSON cannot hold: {error}") from error
        if not isinstance(content, dict):
            raise self.fail(key, f"{key} is a mapping, not {_kind(content)}")
        return content

    def section(self, key: str) -> Section | None:
        """Read the mapping under a key, or None."""
        if not self.has(key):
            return None
        return Section(self._content[key], self.path, key, self.error, self._content.line_of(key))

    def sections(self, key: str, title: str) -> Iterator[Section]:
        """Yield the mappings of the list under a key; none if it is missing."""
        if not self.has(key):
            return
        entries = self._content[key]
        if not isinstance(entries, list):
            raise self.fail(key, f"{key} is a list, not {_kind(entries)}", hint=f"begin each entry of {key} with '- '")
        line = self._content.line_of(key)
        for entry in entries:
            yield Section(entry, self.path, title, self.error, line)

    def fill(self, settings: type[T]) -> T:
        """Read the section into a dataclass. Its fields are the keys: texts, numbers, true or false, mappings for JSON.

        A field's default may be None; what ``__post_init__`` refuses with a ValueError is an error of the section.
        """
        values: dict[str, Any] = {}
        for field in dataclasses.fields(settings):  # type: ignore[arg-type]
            if not self.has(field.name):
                continue
            kind = str(field.type).removesuffix(" | None")
            if kind == "bool":
                values[field.name] = self.flag(field.name, False)
            elif kind == "int":
                values[field.name] = self.integer(field.name, None)
            elif kind == "float":
                values[field.name] = self.number(field.name, 0, 0, float("inf"))
            elif kind.startswith("Mapping"):
                values[field.name] = self.json(field.name)
            else:
                values[field.name] = self.text(field.name)
        self.done()
        for field in dataclasses.fields(settings):  # type: ignore[arg-type]
            if field.default is dataclasses.MISSING and field.name not in values:
                raise self.fail(None, f"{self.title} has no {field.name}", hint=f"add a line {field.name}: …")
        try:
            return settings(**values)
        except ValueError as error:
            raise self.fail(None, str(error)) from error

    def only(self, known: Iterable[str]) -> None:
        """Refuse keys that are not known: first of all, where a misspelt key is otherwise one that is missing."""
        for key in self._content:
            if str(key) not in known:
                raise self.fail(str(key), f"{self.title} has no setting {key!r}", did_you_mean(str(key), known))

    def done(self) -> None:
        """Refuse keys that were not read."""
        self.only(self._asked)

    def _value(self, key: str, default: object) -> Any:
        self._asked.add(key)
        value = self._content.get(key)
        if value is None:
            value = default
        if value is None:
            raise self.fail(key, f"{self.title} has no {key}", hint=f"add a line {key}: …")
        return value


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else repr(value)
