"""Compare the project with an older state of it: dbt's ``state:`` and ``result:`` selections.

The older state is a folder with the artifacts of an earlier command, ours or dbt's. What counts as a change is what
counts in dbt: the text, the settings, the name of the relation, and the macros called however far away. Macros of dbt
itself never count, and neither does the database, which is always the lake here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udfs.errors import UsageError, did_you_mean
from warehouse.artifacts import manifest
from warehouse.artifacts.entries import same_exposure, same_unit_test
from warehouse.artifacts.invocation import MANIFEST, RUN_RESULTS, invocation
from warehouse.project.properties import listed
from warehouse.project.relation import LAKE, Relation

if TYPE_CHECKING:
    from warehouse.graph.loaded_project import LoadedProject

#: Packages whose macros differ between dbt and Cuvée, and say nothing about a project.
_FOREIGN = ("dbt", "dbt_duckdb")
#: Settings that dbt does not compare as configuration.
_APART = ("alias", "schema", "database", "tags", "group")
_STATUSES = ("success", "error", "skipped", "pass", "fail", "warn")


class Comparison:
    """The older state of ``--state``. Files are read when they are first needed."""

    def __init__(self, opened: LoadedProject, folder: Path) -> None:
        self._opened, self._folder = opened, folder

    def state(self, value: str) -> set[str]:
        """Return the nodes that ``state:value`` selects. Raises UsageError if there is no manifest or no such state."""
        checks: dict[str, Callable[[str], bool]] = {
            "new": lambda key: key not in self._old,
            "old": lambda key: key in self._old,
            "modified": self._modified,
            "unmodified": lambda key: not self._modified(key),
            "modified.body": lambda key: key not in self._old or self._body(key),
            "modified.configs": lambda key: key not in self._old or self._configs(key),
            "modified.relation": lambda key: key not in self._old or self._relation(key),
            "modified.macros": self._macros,
        }
        if value not in checks:
            raise UsageError(f"there is no state {value!r}", hint=did_you_mean(value, checks) or ", ".join(checks))
        return {key for key in self._new if checks[value](key)}

    def result(self, value: str) -> set[str]:
        """Return the nodes that ended with this result in the last command of that state. Raises UsageError."""
        if value not in _STATUSES:
            raise UsageError(f"no result is called {value!r}", hint=did_you_mean(value, _STATUSES))
        results = read(self._folder, RUN_RESULTS)["results"]
        return {each["unique_id"] for each in results if each["status"] == value} & set(self._new)

    @cached_property
    def relations(self) -> Mapping[str, Relation]:
        """Return the relations of the older state's models and seeds, by id. Ephemeral models have none."""
        return {
            key: Relation(str(node["schema"]), str(node["alias"]), LAKE)
            for key, node in self._manifest["nodes"].items()
            if node["resource_type"] in ("model", "seed", "snapshot") and node.get("relation_name")
        }

    @cached_property
    def _manifest(self) -> dict[str, Any]:
        return read(self._folder, MANIFEST)

    @cached_property
    def _old(self) -> dict[str, Any]:
        return _entries(self._manifest)

    @cached_property
    def _ours(self) -> dict[str, Any]:
        return manifest.manifest(self._opened, invocation("ls", self._opened.root))

    @cached_property
    def _new(self) -> dict[str, Any]:
        return _entries(self._ours)

    def _modified(self, key: str) -> bool:
        if key not in self._old:
            return True
        old, new = self._old[key], self._new[key]
        if new["resource_type"] in ("unit_test", "exposure"):
            return self._body(key)
        settings = self._configs(key) or old["fqn"] != new["fqn"]
        if new["resource_type"] == "source":
            return settings or self._relation(key)
        if new.get("test_metadata"):  # the text of a generic test is the macro's
            return settings or self._macros(key)
        return settings or self._body(key) or self._relation(key) or self._macros(key)

    def _body(self, key: str) -> bool:
        old, new = self._old[key], self._new[key]
        if new["resource_type"] in ("unit_test", "exposure"):
            return not (same_exposure if new["resource_type"] == "exposure" else same_unit_test)(old, new)
        if new["resource_type"] == "seed":
            return bool(old["checksum"]["checksum"] != new["checksum"]["checksum"])
        return bool(old.get("raw_code") != new.get("raw_code"))

    def _configs(self, key: str) -> bool:
        return _settings(self._old[key]) != _settings(self._new[key])

    def _relation(self, key: str) -> bool:
        old, new = self._old[key], self._new[key]
        if new["resource_type"] in ("unit_test", "exposure"):
            return False
        if new["resource_type"] == "source":
            return any(old[name] != new[name] for name in ("schema", "identifier"))
        before, now = old["unrendered_config"], new["unrendered_config"]
        return any(before.get(name) != now.get(name) for name in ("schema", "alias"))

    def _macros(self, key: str) -> bool:
        """Return whether a macro changed that a node calls, or one of those that they call."""
        macros = self._ours["macros"]
        stack, seen = list(self._new[key].get("depends_on", {}).get("macros", ())), set()
        while stack:
            name = stack.pop()
            if name in self._changed_macros:
                return True
            if name not in seen and name in macros:
                seen.add(name)
                stack.extend(macros[name]["depends_on"]["macros"])
        return False

    @cached_property
    def _changed_macros(self) -> set[str]:
        old = self._manifest["macros"]
        return {
            name
            for name, macro in self._ours["macros"].items()
            if macro["package_name"] not in _FOREIGN
            and macro["macro_sql"] != old.get(name, {"macro_sql": None})["macro_sql"]
        }


def comparison(opened: LoadedProject) -> Comparison | None:
    """Return the older state that the options name, or None."""
    return Comparison(opened, opened.options.state) if opened.options.state is not None else None


def read(folder: Path, name: str) -> dict[str, Any]:
    """Read an artifact of an earlier command. Raises UsageError if it is missing or something else."""
    path = folder / name
    wanted = "nodes" if name == MANIFEST else "results"
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        hint = f"--state names the folder of an earlier {name}; builds write it into the project's target/"
        raise UsageError(f"cannot read {path}: {error.strerror}", hint=hint) from error
    except ValueError as error:
        raise UsageError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict) or wanted not in content:
        raise UsageError(f"{path} is not a {name} of dbt", hint=f"it has no {wanted!r}")
    return content


def _entries(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything in a manifest that can be selected. Older ones have no unit tests."""
    return {
        key: entry
        for section in ("nodes", "sources", "unit_tests", "exposures")
        for key, entry in manifest.get(section, {}).items()
    }


def _settings(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a node's settings in one spelling: a hook alone is a list of one, and an empty setting is not set."""
    found = {}
    for name, value in (node.get("unrendered_config") or {}).items():
        if name.endswith("-hook"):
            value = [each["sql"] if isinstance(each, Mapping) else each for each in listed(value)]
        if name not in _APART and value not in (None, [], {}):
            found[name] = value
    return found
