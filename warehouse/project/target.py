"""The target of a profile: the database and schema that a build writes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from udfs.errors import UsageError, did_you_mean
from warehouse.project.project import Project
from warehouse.project.relation import LAKE

#: Nodes that are built at once, where profiles.yml does not say. A large query uses all cores by itself.
_THREADS = 2


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a profile: the database and schema that a build writes to."""

    name: str = "main"
    schema: str = "main"
    profile: str = "cuvee"
    database: str = LAKE
    type: str = "duckdb"
    threads: int = _THREADS

    @property
    def profile_name(self) -> str:
        return self.profile

    @property
    def dbname(self) -> str:
        return self.database

    def get(self, key: str, default: Any = None) -> Any:
        return getattr(self, key, default)


def target_of(project: Project, name: str | None = None) -> Target:
    """Return the target that profiles.yml and ``--target`` name. Raises UsageError for an unknown one."""
    profile = project.profiles.get(project.profile or "")
    if not isinstance(profile, Mapping):
        return Target(name=name or "main", profile=project.profile or "cuvee")
    outputs = profile.get("outputs") or {}
    chosen = name or str(profile.get("target", "default"))
    if chosen not in outputs:
        raise UsageError(f"profile {project.profile} has no target {chosen!r}", hint=did_you_mean(chosen, outputs))
    output = outputs[chosen]
    return Target(
        name=chosen,
        schema=str(output.get("schema", "main")),
        profile=str(project.profile),
        threads=int(output.get("threads") or _THREADS),
    )
