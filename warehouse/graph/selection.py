"""dbt's selection syntax, which chooses the nodes of a command.

orders              a name, a path, or the start of a dotted path of folders; * and ? match anything
tag:nightly  path:models/marts  resource_type:seed  source:raw  config.materialized:view  test_type:generic
exposure:board  unit_test:upper_names  group:finance  access:public  version:latest
state:modified  state:new  result:fail     compared with an older state of the project (--state)
+orders  orders+  2+orders+1  @orders     with ancestors, descendants, N steps up, descendants and all their ancestors
a b                 union            a,b  intersection
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Protocol

from udfs.errors import UsageError, did_you_mean
from warehouse.graph.graph import Graph, reach
from warehouse.graph.step import Step
from warehouse.project.model_versions import order
from warehouse.project.project import Node
from warehouse.project.properties import listed
from warehouse.project.results import TESTS
from warehouse.render.node_view import versioned

_TERM = re.compile(r"(?P<at>@)?(?P<up>\d*\+)?(?:(?P<method>[a-z_]+(?:\.[\w.]+)?):)?(?P<value>.+?)(?P<down>\+\d*)?\Z")
_KINDS = ("model", "seed", "snapshot", "source", "test", "data_test", "unit_test", "exposure")
#: Methods whose value must be there, with what is said where it is not.
_SAID = {"fqn": "is named", "tag": "has the tag", "path": "is in"}
_ACCESS = ("private", "protected", "public")


class SelectionError(UsageError):
    """A selection cannot be understood."""


class OlderState(Protocol):
    """Compares the nodes of a graph with an older state of the project."""

    def state(self, value: str) -> set[str]:
        """Return the ids that ``state:value`` selects."""

    def result(self, value: str) -> set[str]:
        """Return the ids that ``result:value`` selects."""


def select(
    graph: Graph, chosen: Sequence[str], excluded: Sequence[str] = (), older: OlderState | None = None
) -> set[str]:
    """Return the ids of the nodes that ``chosen`` names, all if it is empty, without those that ``excluded`` names.

    A test comes with any of the nodes it tests. Raises SelectionError for an unknown method, for a name, a
    tag or a path that no node has, and for ``state:`` and ``result:`` without an ``older`` state.
    """
    nodes = _terms(graph, chosen, older) if chosen else set(graph.steps)
    return nodes - _terms(graph, excluded, older)


def _terms(graph: Graph, terms: Iterable[str], older: OlderState | None) -> set[str]:
    found: set[str] = set()
    for union in terms:
        for intersection in union.split():
            parts = [criterion(graph, each, older) for each in intersection.split(",") if each]
            if parts:
                found |= set.intersection(*parts)
    return found


def criterion(graph: Graph, term: str, older: OlderState | None) -> set[str]:
    """Return the nodes of one term, with the tests of any of them. Raises SelectionError."""
    nodes = _term(graph, term, older)
    tests = {key for key, step in graph.steps.items() if step.kind in TESTS and nodes.intersection(step.parents)}
    return nodes | tests


def _term(graph: Graph, term: str, older: OlderState | None) -> set[str]:
    match = _TERM.match(term)
    if match is None:
        hint = "for example: +orders, tag:nightly, path:models/x"
        raise SelectionError(f"cannot read the selection {term!r}", hint=hint)
    if match["method"] in ("state", "result"):
        if older is None:
            raise SelectionError(f"{term} compares with an older state of the project", hint="name it: --state DIR")
        matches = older.state(match["value"]) if match["method"] == "state" else older.result(match["value"])
    else:
        matches = _method(graph, match["method"], match["value"], term)
    found = set(matches)
    if match["at"]:
        below = matches.union(*(graph.descendants(key) for key in matches)) if matches else set()
        return below.union(*(graph.ancestors(key) for key in below)) if below else set()
    if match["up"]:
        found |= reach(matches, lambda key: graph.steps[key].parents, int(match["up"].rstrip("+") or -1))
    if match["down"]:
        found |= reach(matches, lambda key: graph.children[key], int(match["down"].lstrip("+") or -1))
    return found


def _method(graph: Graph, method: str | None, value: str, term: str) -> set[str]:
    if method is None:
        method = "path" if "/" in value else "file" if value.endswith((".sql", ".csv")) else "fqn"
    name, _, argument = method.partition(".")
    tests: dict[str, Callable[[Step], bool]] = {
        "fqn": lambda step: _is_named(step, value),
        "tag": lambda step: any(fnmatchcase(str(tag), value) for tag in listed(step.node.config.get("tags"))),
        "path": lambda step: _in_path(step.node.path, value),
        "file": lambda step: (
            fnmatchcase(step.node.path.rsplit("/", 1)[-1], value)
            or fnmatchcase(step.node.path.rsplit("/", 1)[-1].rsplit(".", 1)[0], value)
        ),
        "package": lambda step: fnmatchcase(step.node.package, value),
        "resource_type": lambda step: step.node.kind == value or (step.node.kind == "test" and value in ("data_test",)),
        "source": lambda step: step.kind == "source" and _is_source(step, value),
        "config": lambda step: _has_config(step, argument, value),
        "test_name": lambda step: step.node.test is not None and fnmatchcase(step.node.test.name.split(".")[-1], value),
        "test_type": lambda step: step.kind in TESTS and value in _test_types(step),
        "exposure": lambda step: step.kind == "exposure" and _is_exposure(step, value),
        "group": lambda step: fnmatchcase(str(step.node.config.get("group") or ""), value),
        "access": lambda step: (
            step.node.kind == "model" and step.node.config.get("access", "protected") == value.lower()
        ),
        "version": lambda step: step.node.kind == "model" and _version(step.node) == value,
        "unit_test": lambda step: step.kind == "unit_test" and _is_named(step, value),
    }
    if name == "resource_type" and value not in _KINDS:
        raise SelectionError(f"there is no resource type {value!r}", hint=did_you_mean(value, _KINDS))
    if name == "access" and value.lower() not in _ACCESS:
        raise SelectionError(f"there is no access {value!r}", hint=did_you_mean(value, _ACCESS))
    if name not in tests:
        hint = did_you_mean(name, (*tests, "state", "result"))
        raise SelectionError(f"{term!r}: there is no selection method {name!r}", hint=hint)
    found = {key for key, step in graph.steps.items() if tests[name](step)}
    if name in _SAID and not found and not set("*?[") & set(value):
        known = _names(graph.steps.values(), name)
        raise SelectionError(f"nothing in the project {_SAID[name]} {value!r}", hint=did_you_mean(value, known))
    return found


def _names(steps: Iterable[Step], method: str) -> set[str]:
    """Return what a method could have been given: the names, the tags, or the files and folders that there are."""
    if method == "tag":
        return {str(tag) for step in steps for tag in listed(step.node.config.get("tags"))}
    if method == "path":
        paths = {PurePosixPath(step.node.path) for step in steps}
        return {str(each) for path in paths for each in (path, *path.parents)} - {"."}
    return {step.name for step in steps if step.kind not in TESTS}


def _version(node: Node) -> str:
    """Return the value of ``version:`` for a version of a model: latest, prerelease (a later one), old."""
    if node.version is None:
        return "none"
    if str(node.version) == str(node.latest_version):
        return "latest"
    return "prerelease" if order(str(node.version)) > order(str(node.latest_version)) else "old"


def _test_types(step: Step) -> tuple[str, ...]:
    return ("unit",) if step.kind == "unit_test" else ("data", "generic" if step.node.test else "singular")


def _is_named(step: Step, value: str) -> bool:
    if step.kind == "source" and value != "*":
        return False  # a source has a method of its own, as in dbt
    if fnmatchcase(step.name, value) or (step.node.version and fnmatchcase(versioned(step.node), value)):
        return True
    parts, wanted = list(step.node.fqn), value.split(".")
    return any(
        len(wanted) <= len(path) and all(fnmatchcase(have, want) for have, want in zip(path, wanted, strict=False))
        for path in (parts, parts[1:])
    )


def _is_source(step: Step, value: str) -> bool:
    parts = value.split(".")
    have = [step.node.source_name or "", step.node.name]
    if len(parts) == 3:
        have = [step.node.package, *have]
    return all(fnmatchcase(each, want) for each, want in zip(have, parts, strict=False))


def _is_exposure(step: Step, value: str) -> bool:
    have = [step.node.package, step.name] if "." in value else [step.name]
    return all(fnmatchcase(each, want) for each, want in zip(have, value.split(".", 1), strict=True))


def _in_path(path: str, value: str) -> bool:
    value = value.rstrip("/").removeprefix("./")
    return fnmatchcase(path, value) or path.startswith(f"{value}/")


def _has_config(step: Step, argument: str, value: str) -> bool:
    here: object = step.node.config
    for part in argument.split("."):
        here = here.get(part) if isinstance(here, dict) else None
    if here is None and argument == "materialized" and step.node.kind in ("model", "seed", "snapshot"):
        here = step.kind
    if isinstance(here, list):
        return value in map(str, here)
    return str(here).lower() == value.lower() if here is not None else False
