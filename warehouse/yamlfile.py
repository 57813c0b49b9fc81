"""YAML files whose mistakes can be shown: every mapping remembers the line where it began."""

from __future__ import annotations

from typing import Any

import yaml

from udfs.errors import CuveeError, Location

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's reads a schema.yml about eight times faster


class Mapping(dict[str, Any]):
    """A mapping of a YAML file, with the line where it stands."""

    line: int = 1


class YamlError(CuveeError):
    """A YAML file cannot be read."""


class _LineLoader(_Loader):  # type: ignore[misc, valid-type]
    pass


def _mapping(loader: Any, node: yaml.MappingNode) -> Any:
    loader.flatten_mapping(node)
    mapping = Mapping()
    mapping.line = node.start_mark.line + 1
    yield mapping
    mapping.update(loader.construct_mapping(node))


_LineLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse(text: str, path: str) -> Any:
    """The content of a YAML file. Raises YamlError with line and column."""
    try:
        return yaml.load(text, _LineLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Location(path, mark.line + 1, mark.column + 1) if mark else Location(path)
        raise YamlError(f"not valid YAML: {error.problem or error.context}", where=where) from error
    except yaml.YAMLError as error:
        raise YamlError(f"not valid YAML: {error}", where=Location(path)) from error


def line_of(value: object, default: int = 1) -> int:
    """The line where a parsed mapping began."""
    return value.line if isinstance(value, Mapping) else default
