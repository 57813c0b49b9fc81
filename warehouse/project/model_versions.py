"""Models with several versions in schema.yml. Each version is a node with a file of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from udfs import yamlfile
from udfs.errors import Location, ProjectError, did_you_mean
from warehouse.project.properties import listed, merge

_OWN = ("v", "defined_in", "columns", "include", "exclude")


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of the model ``model``; ``latest`` is the one that a ref without a version means."""

    model: str
    v: Any  # as schema.yml writes it
    latest: Any
    file: str  # without .sql
    entry: Mapping[str, Any]  # what schema.yml says of this version

    @property
    def files(self) -> tuple[str, ...]:
        """The names that its file may have. The latest version's may be the model's own."""
        return (self.file, self.model) if self.v == self.latest else (self.file,)


def versions(entry: Mapping[str, Any], path: str) -> Iterator[ModelVersion]:
    """Return the versions of an entry of ``models:``. Raises ProjectError, located."""
    model, given = str(entry["name"]), entry["versions"]
    where = Location(path, yamlfile.line_of(entry))
    if not isinstance(given, list) or not all(isinstance(each, Mapping) and "v" in each for each in given):
        raise ProjectError(f"the versions of {model} are a list", where=where, hint="versions: [{v: 1}, {v: 2}]")
    known = {str(each["v"]): each["v"] for each in given}
    if len(known) < len(given):
        hint = ", ".join(str(each["v"]) for each in given)
        raise ProjectError(f"{model} has two versions of one name", where=where, hint=hint)
    said = entry.get("latest_version")
    latest = str(max(known, key=order) if said is None else said)
    if latest not in known:
        hint = did_you_mean(latest, known) or f"its versions: {', '.join(known)}"
        raise ProjectError(f"{model} has no version {latest}, its latest_version", where=where, hint=hint)
    base = {key: value for key, value in entry.items() if key not in ("versions", "latest_version")}
    for each in given:
        own = {key: value for key, value in each.items() if key not in _OWN}
        config = merge(base.get("config") or {}, own.pop("config", None) or {})
        columns = _columns(base, each)
        merged = yamlfile.Mapping({**base, **own, "name": model, "config": config, "columns": columns})
        merged.line = yamlfile.line_of(each, where.line or 1)
        yield ModelVersion(
            model, each["v"], known[latest], str(each.get("defined_in") or f"{model}_v{each['v']}"), merged
        )


def _columns(base: Mapping[str, Any], version: Mapping[str, Any]) -> list[Any]:
    """Return the columns of a version: its own, and those of the model that it includes. Its own take precedence."""
    given = [column for column in version.get("columns") or () if isinstance(column, Mapping)]
    own = [column for column in given if "name" in column]
    rule = next((column for column in given if "include" in column or "exclude" in column), {})
    include, exclude = rule.get("include", "all"), set(map(str, listed(rule.get("exclude"))))
    names = {str(column["name"]) for column in own}
    taken = [
        column
        for column in base.get("columns") or ()
        if isinstance(column, Mapping)
        and (include in ("all", "*") or str(column.get("name")) in map(str, listed(include)))
        and str(column.get("name")) not in exclude | names
    ]
    return [*taken, *own]


def order(v: str) -> tuple[bool, float, str]:
    """Return a sort key for versions: numbers by size, then other words by the alphabet."""
    try:
        return False, float(v), ""
    except ValueError:
        return True, 0.0, v
