"""YAML files whose mistakes can be shown: a mapping keeps its own line and those of its keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from udfs.errors import CuveeError, Location

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's reads a schema.yml about eight times faster


class Mapping(dict[str, Any]):
    """A mapping of a YAML file, with its line, the lines of its keys, and its scalars as written."""

    line: int = 1
    keys_at: tuple[tuple[object, int], ...] = ()
    scalars: tuple[tuple[object, str | tuple[str, ...]], ...] = ()

    def written(self, key: str) -> str | tuple[str, ...] | None:
        """Return a scalar as written, or those of a list: YAML makes 005 the number 5 and 010 the number 8."""
        return next((text for known, text in self.scalars if known == key), None)

    def line_of(self, key: str) -> int:
        """Return the line of a key; the mapping's own if the key is not there."""
        return next((line for known, line in self.keys_at if known == key), self.line)

    def repeated(self) -> tuple[str, int] | None:
        """Return the first key that is there twice, and its second line. YAML itself keeps the last value."""
        seen = set()
        for key, line in self.keys_at:
            if str(key) in seen:
                return str(key), line
            seen.add(str(key))
        return None


class YamlError(CuveeError):
    """A YAML file cannot be read."""


class _LineLoader(_Loader):  # type: ignore[misc, valid-type]
    pass


def _mapping(loader: Any, node: yaml.MappingNode) -> Any:
    loader.flatten_mapping(node)
    mapping = Mapping()
    mapping.line = node.start_mark.line + 1
    mapping.keys_at = tuple((key.value, key.start_mark.line + 1) for key, _ in node.value)
    mapping.scalars = tuple((key.value, text) for key, value in node.value if (text := _texts(value)) is not None)
    yield mapping
    mapping.update(loader.construct_mapping(node))


def _texts(node: yaml.Node) -> str | tuple[str, ...] | None:
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    if isinstance(node, yaml.SequenceNode) and all(isinstance(each, yaml.ScalarNode) for each in node.value):
        return tuple(str(each.value) for each in node.value)
    return None


_LineLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse(text: str, path: str) -> Any:
    """Parse a YAML file. Raises YamlError with line and column."""
    with located(path, YamlError):
        return yaml.load(text, _LineLoader)


@contextmanager
def located(path: str, raised: type[CuveeError]) -> Iterator[None]:
    """Raise what PyYAML finds wrong in a file as an error that has the place."""
    try:
        yield
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Location(path, mark.line + 1, mark.column + 1) if mark else Location(path)
        raise raised(f"not valid YAML: {error.problem or error.context}", where=where) from error
    except yaml.YAMLError as error:
        raise raised(f"not valid YAML: {error}", where=Location(path)) from error


def line_of(value: object, default: int = 1) -> int:
    """Return the line where a parsed mapping began."""
    return value.line if isinstance(value, Mapping) else default
