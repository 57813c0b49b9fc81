"""Selections with names: ``selectors.yml`` next to dbt_project.yml, and ``--selector``.

A definition is a term as on the command line, a method with its value, or the union or the intersection of others, each
without the nodes of an ``exclude`` next to them. Tests come with the nodes they test, unless they are excluded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from udfs import yamlfile
from udfs.errors import Location, did_you_mean
from warehouse.graph.graph import Graph
from warehouse.graph.selection import OlderState, SelectionError, criterion

FILE = "selectors.yml"
_METHOD = (
    "method", "value", "parents", "parents_depth", "children", "children_depth", "childrens_parents",
    "indirect_selection", "exclude",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Selector:
    """A named selection, as it is written in the file."""

    name: str
    definition: Any
    default: bool
    where: Location


def load(root: Path) -> dict[str, Selector]:
    """Return the selectors of the project in ``root``, in their order. Raises SelectionError, located."""
    path = root / FILE
    if not path.is_file():
        return {}
    content = yamlfile.parse(path.read_text(encoding="utf-8"), FILE) or {}
    entries = content.get("selectors") if isinstance(content, Mapping) else None
    if not isinstance(entries, list):
        raise SelectionError("selectors.yml is a list", where=Location(FILE, 1), hint="selectors: [{name: …}]")
    found: dict[str, Selector] = {}
    for entry in entries:
        where = Location(FILE, yamlfile.line_of(entry))
        if not isinstance(entry, Mapping) or not entry.get("name") or "definition" not in entry:
            raise SelectionError("a selector needs a name and a definition", where=where)
        selector = Selector(str(entry["name"]), entry["definition"], bool(entry.get("default")), where)
        if selector.name in found:
            raise SelectionError(f"two selectors are named {selector.name}", where=where)
        if selector.default and any(other.default for other in found.values()):
            raise SelectionError("two selectors are the default", where=where, hint="keep one default: true")
        found[selector.name] = selector
    return found


def default(selectors: Mapping[str, Selector]) -> str | None:
    """Return the selector that is used where nothing is selected."""
    return next((each.name for each in selectors.values() if each.default), None)


def select(graph: Graph, selectors: Mapping[str, Selector], name: str, older: OlderState | None = None) -> set[str]:
    """Return the ids of the nodes that a selector chooses. Raises SelectionError if it is unknown or not valid."""
    if name not in selectors:
        hint = did_you_mean(name, selectors) or f"define it in {FILE}, next to dbt_project.yml"
        raise SelectionError(f"no selector is named {name!r}", hint=hint)
    selector = selectors[name]
    return _Evaluation(graph, selectors, older).definition(selector.definition, selector.where, (name,))


@dataclass(frozen=True, slots=True)
class _Evaluation:
    graph: Graph
    selectors: Mapping[str, Selector]
    older: OlderState | None

    def definition(self, said: Any, where: Location, open_: tuple[str, ...]) -> set[str]:
        where = Location(FILE, yamlfile.line_of(said, where.line or 1))
        if isinstance(said, str):
            return self._term(said, where)
        if not isinstance(said, Mapping) or not said:
            raise SelectionError("a definition is a term, a method, a union or an intersection", where=where)
        for key in ("union", "intersection"):
            if key in said:
                if len(said) > 1:
                    raise SelectionError(f"{key} must be the only key", where=where, hint="put exclude into its list")
                return self._combined(said[key], key, where, open_)
        if len(said) == 1:
            ((method, value),) = said.items()
            return self._term(f"{method}:{value}", where)
        return self._method(said, where, open_)

    def _combined(self, parts: Any, key: str, where: Location, open_: tuple[str, ...]) -> set[str]:
        if not isinstance(parts, list):
            raise SelectionError(f"{key} is a list", where=where)
        excludes = [each for each in parts if isinstance(each, Mapping) and list(each) == ["exclude"]]
        if len(excludes) > 1:
            raise SelectionError("a list has one exclude", where=where, hint="put both into its list")
        found = [self.definition(each, where, open_) for each in parts if each not in excludes]
        chosen = set.intersection(*found) if found and key == "intersection" else set[str]().union(*found)
        return self._without(chosen, excludes[0]["exclude"], where, open_) if excludes else chosen

    def _method(self, said: Mapping[str, Any], where: Location, open_: tuple[str, ...]) -> set[str]:
        for key in said:
            if key not in _METHOD:
                raise SelectionError(f"a definition has no {key!r}", where=where, hint=did_you_mean(str(key), _METHOD))
        if "method" not in said or "value" not in said:
            raise SelectionError("a definition needs a method and a value", where=where, hint="{method: tag, value: x}")
        if said.get("indirect_selection", "eager") != "eager":
            raise SelectionError("tests always come with what they test", where=where, hint="indirect_selection: eager")
        if said["method"] == "selector":
            name = str(said["value"])
            if name not in self.selectors or name in open_:
                message = (
                    f"no selector is named {name!r}" if name not in open_ else f"selector {name} is made of itself"
                )
                raise SelectionError(message, where=where, hint=did_you_mean(name, self.selectors))
            other = self.selectors[name]
            found = self.definition(other.definition, other.where, (*open_, name))
        else:
            up = f"{said.get('parents_depth', '')}+" if said.get("parents") else ""
            down = f"+{said.get('children_depth', '')}" if said.get("children") else ""
            at = "@" if said.get("childrens_parents") else ""
            found = self._term(f"{at}{up}{said['method']}:{said['value']}{down}", where)
        return self._without(found, said["exclude"], where, open_) if "exclude" in said else found

    def _without(self, chosen: set[str], excluded: Any, where: Location, open_: tuple[str, ...]) -> set[str]:
        if not isinstance(excluded, list):
            raise SelectionError("exclude is a list", where=where)
        return chosen.difference(*(self.definition(each, where, open_) for each in excluded))

    def _term(self, text: str, where: Location) -> set[str]:
        try:
            return criterion(self.graph, text, self.older)
        except SelectionError as error:
            raise SelectionError(error.message, where=where, hint=error.hint) from error
