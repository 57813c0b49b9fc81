"""YAML into frozen dataclasses: every value knows its place, so every mistake has a file, line and column.

The dataclass says what a value must be, not YAML: ``3e-3`` is a float where a float is asked for, although YAML 1.1
(and PyYAML) reads it as text, and ``600k`` is a count. A dataclass field is a key; without a default it is required.
"""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from training.recipe.durations import Duration, parse_duration
from udfs import yamlfile
from udfs.amounts import parse_count, parse_share
from udfs.errors import Location, UsageError, did_you_mean


class RecipeError(UsageError):
    """A recipe that says something it cannot mean."""


@dataclass(frozen=True, slots=True)
class Range:
    """Limits of a number; ``above`` and ``below`` exclude themselves."""

    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None

    def broken_by(self, number: float) -> str | None:
        """Return what the number should have been, or None if it is valid."""
        if not math.isfinite(number):
            return "a finite number"
        if self.above is not None and number <= self.above:
            return f"more than {self.above:g}"
        if self.at_least is not None and number < self.at_least:
            return f"at least {self.at_least:g}"
        if self.at_most is not None and number > self.at_most:
            return f"at most {self.at_most:g}"
        if self.below is not None and number >= self.below:
            return f"less than {self.below:g}"
        return None


Count = Annotated[int, Range(at_least=1)]
Amount = Annotated[int, Range(at_least=0)]
Positive = Annotated[float, Range(above=0)]
Fraction = Annotated[float, Range(at_least=0, at_most=1)]


@dataclass(frozen=True, slots=True)
class YamlNode:
    """A YAML value with its place: text, None, a list of nodes, or a mapping from key to node."""

    value: str | list[YamlNode] | dict[str, YamlNode] | None
    where: Location

    def at(self, path: str) -> Location:
        """Return the place of the value at a dotted path; of the nearest existing parent if it is not written."""
        found = self.get(path)
        if found is None:
            parent = path.rpartition(".")[0]
            return self.at(parent) if parent else self.where
        return found.where

    def get(self, path: str) -> YamlNode | None:
        """Return the node at a dotted path, None where nothing is written."""
        node = self
        for key in path.split("."):
            if not isinstance(node.value, dict) or key not in node.value:
                return None
            node = node.value[key]
        return node

    def with_value(self, path: str, value: YamlNode) -> YamlNode:
        """Return a copy with another value at a dotted path; missing mappings on the way are made."""
        key, _, rest = path.partition(".")
        here = dict(self.value) if isinstance(self.value, dict) else {}
        here[key] = here.get(key, YamlNode({}, value.where)).with_value(rest, value) if rest else value
        return replace(self, value=here)


def parse(text: str, name: str) -> YamlNode:
    """Parse YAML. Raises RecipeError with the place of a syntax error, a repeated key or a key that is not text."""
    import yaml

    with yamlfile.located(name, RecipeError):
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    return _node(root, name) if root else YamlNode(None, Location(name))


def load(path: Path, settings: tuple[str, ...] = ()) -> YamlNode:
    """Read a YAML file and what it ``extends``, and put ``settings`` (``key.key=value``, the value in YAML) over it.

    ``extends`` names a file, or a list of them, next to this one: mappings are merged key by key, other values replace
    what was there, later files win, this file over all; files that ``settings`` extend come after its own. ``{a.b}``
    within a text is the text at that key. Raises RecipeError, and UsageError if a file cannot be read.
    """
    changes = [_setting(setting) for setting in settings]
    more = [one for key, value in changes if key == EXTENDS for one in _listed(value)]
    root = _extended(path, (), more)
    for key, value in changes:
        if key != EXTENDS and value.value is None:  # takes away what is there, as in a recipe that extends another
            root = _merged(root, YamlNode({}, root.where).with_value(key, value))
        elif key != EXTENDS:
            root = root.with_value(key, value)
    return _filled(root, root)


EXTENDS = "extends"
_REFERENCE = re.compile(r"\{([a-z_]+(?:\.[a-z_]+)*)\}")


def _setting(setting: str) -> tuple[str, YamlNode]:
    key, equals, value = setting.partition("=")
    if not equals or not all(key.split(".")):
        raise UsageError(f"--set {setting}: expected key=value", hint="for example: --set anneal.tokens=200k")
    where = Location(f"--set {setting}")
    return key, _changed(parse(value, "--set"), lambda node: replace(node, where=where))


def _listed(node: YamlNode) -> list[YamlNode]:
    return node.value if isinstance(node.value, list) else [node]


def _extended(path: Path, below: tuple[Path, ...], more: Sequence[YamlNode] = ()) -> YamlNode:
    """Read a file and merge it over what it extends and ``more``."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read the recipe {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the recipe {path} is not UTF-8") from error
    node = parse(text, str(path))
    if not isinstance(node.value, dict):
        return node
    own = {key: value for key, value in node.value.items() if key != EXTENDS}
    whole: YamlNode | None = None
    for one in [*_listed(node.value.get(EXTENDS, YamlNode([], node.where))), *more]:
        if not isinstance(one.value, str):
            raise RecipeError(f"extends names a recipe, not {_shown(one)}", where=one.where)
        base = path.parent / one.value
        if not base.is_file():
            near = did_you_mean(base.name, [each.name for each in base.parent.glob("*.yaml")])
            raise RecipeError(f"no recipe {base}", where=one.where, hint=near)
        if base.resolve() in (*below, path.resolve()):
            raise RecipeError(f"{base} extends itself", where=one.where)
        extended = _extended(base, (*below, path.resolve()))
        whole = extended if whole is None else _merged(whole, extended)
    mine = replace(node, value=own)
    return mine if whole is None else _merged(whole, mine)


def _merged(base: YamlNode, over: YamlNode) -> YamlNode:
    """Merge ``over`` over ``base``. Nothing (``key:``) in place of a mapping or a list takes the key away."""
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    merged = dict(base.value)
    for key, value in over.value.items():
        before = merged.get(key)
        if value.value is None and before is not None and isinstance(before.value, (dict, list)):
            del merged[key]
        else:
            merged[key] = value if before is None else _merged(before, value)
    return replace(over, value=merged)


def _filled(node: YamlNode, root: YamlNode) -> YamlNode:
    """Replace every ``{a.b}`` by the text at a.b of ``root``."""

    def text(found: re.Match[str], where: Location) -> str:
        if found[1] == "window":
            return found[0]  # until a run's window is known
        referred = root
        for key in found[1].split("."):
            children = referred.value if isinstance(referred.value, dict) else {}
            if key not in children:
                raise RecipeError(f"{found[0]} is nowhere set", where=where, hint=did_you_mean(key, children))
            referred = children[key]
        if not isinstance(referred.value, str) or "{" in referred.value:
            raise RecipeError(f"{found[0]} is not plain text", where=where)
        return referred.value

    def filled(one: YamlNode) -> YamlNode:
        if not isinstance(one.value, str):
            return one
        return replace(one, value=_REFERENCE.sub(lambda found: text(found, one.where), one.value))

    return _changed(node, filled)


def _changed(node: YamlNode, change: Callable[[YamlNode], YamlNode]) -> YamlNode:
    """Return a copy in which every node is changed."""
    value = node.value
    if isinstance(value, dict):
        node = replace(node, value={key: _changed(child, change) for key, child in value.items()})
    elif isinstance(value, list):
        node = replace(node, value=[_changed(child, change) for child in value])
    return change(node)


#: Keys that tell whose recipe it is.
_COMMANDS = {"anneal": "anneal", "teacher": "distil"}


def only_for(command: str, node: YamlNode, path: Path) -> None:
    """Raise RecipeError for a recipe of another command than ``cuvee command``."""
    for key, other in _COMMANDS.items():
        if other != command and isinstance(node.value, dict) and key in node.value:
            raise RecipeError(
                f"this recipe is not for cuvee {command}", where=node.at(key), hint=f"cuvee {other} {path}"
            )


T = TypeVar("T")


def read(node: YamlNode, kind: type[T], name: str = "the recipe") -> T:
    """Build the dataclass ``kind`` from a mapping. Raises RecipeError."""
    if not isinstance(node.value, dict):
        raise RecipeError(f"{name} must be a mapping of keys", where=node.where)
    hints = typing.get_type_hints(kind, include_extras=True)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for key, child in node.value.items():
        if key not in known:
            raise RecipeError(f"unknown key {key!r} in {name}", where=child.where, hint=did_you_mean(key, known))
    for key, field in known.items():
        if field.default is MISSING and field.default_factory is MISSING and key not in node.value:
            raise RecipeError(f"{name} lacks {key!r}", where=node.where)
    prefix = "" if name == "the recipe" else f"{name}."
    return kind(**{key: _value(child, hints[key], f"{prefix}{key}") for key, child in node.value.items()})


def _value(node: YamlNode, hint: Any, name: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if node.value is None and type(None) in arguments:
            return None
        lists = [each for each in arguments if typing.get_origin(each) is tuple]
        return _value(node, lists[0] if lists and isinstance(node.value, list) else arguments[0], name)
    if origin is Annotated:
        number = _value(node, arguments[0], name)
        if wanted := arguments[1].broken_by(number):
            raise RecipeError(f"{name} must be {wanted}, not {node.value}", where=node.where)
        return number
    if origin is tuple and isinstance(node.value, list):
        return tuple(_value(item, arguments[0], f"{name}[{index}]") for index, item in enumerate(node.value))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(node.value, dict):
        items = [(key, item) for key, item in node.value.items() if item.value is not None]
        return {key: _value(item, arguments[1], f"{name}.{key}") for key, item in items}
    if is_dataclass(hint) and isinstance(hint, type) and hint not in _SCALARS:
        return read(node, hint, name)
    if origin is Literal and node.value in arguments:
        return node.value
    if isinstance(node.value, str) and hint in _SCALARS:
        try:
            return _SCALARS[hint][1](node.value)
        except ValueError:
            pass
    if origin is Literal:
        close = did_you_mean(node.value, arguments) if isinstance(node.value, str) else None
        wanted = f"one of {', '.join(arguments)}"
    else:
        close = None
        wanted = {tuple: "a list", None: _SCALARS.get(hint, ("",))[0]}.get(origin, "a mapping")
    raise RecipeError(f"{name} must be {wanted}, not {_shown(node)}", where=node.where, hint=close)


def _number(text: str) -> float:
    return parse_share(text) if text.endswith("%") else float(text)


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


_SCALARS: dict[Any, tuple[str, Callable[[str], Any]]] = {
    str: ("text", str),
    int: ("a whole number", parse_count),
    float: ("a number", _number),
    bool: ("true or false", _truth),
    Duration: ("a duration (tokens, or with sp, ba, dur or %)", parse_duration),
}


def _shown(node: YamlNode) -> str:
    if isinstance(node.value, str):
        return repr(node.value)
    if node.value is None:
        return "nothing"
    return "a list" if isinstance(node.value, list) else "a mapping"


def _node(node: Any, name: str) -> YamlNode:
    import yaml

    where = Location(name, node.start_mark.line + 1, node.start_mark.column + 1)
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, YamlNode] = {}
        for key, child in node.value:
            place = Location(name, key.start_mark.line + 1, key.start_mark.column + 1)
            if not isinstance(key, yaml.ScalarNode):
                raise RecipeError("a key must be text", where=place)
            if key.value in mapping:
                raise RecipeError(f"the key {key.value!r} is here twice", where=place)
            mapping[key.value] = replace(_node(child, name), where=place)
        return YamlNode(mapping, where)
    if isinstance(node, yaml.SequenceNode):
        return YamlNode([_node(child, name) for child in node.value], where)
    return YamlNode(None if node.tag == "tag:yaml.org,2002:null" else node.value, where)
