"""Exposures: dashboards and other readers of models outside the project. They are never built."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from udfs import yamlfile
from udfs.errors import Location, ProjectError, did_you_mean

_KEYS = (
    "name", "type", "owner", "label", "description", "maturity", "url", "depends_on", "tags", "meta", "config",
)  # fmt: skip
_TYPES = ("dashboard", "notebook", "analysis", "ml", "application")
_MATURITIES = ("low", "medium", "high")


@dataclass(frozen=True, slots=True)
class Exposure:
    """An exposure of schema.yml. ``depends_on`` has references as they are written."""

    type: str
    owner: Mapping[str, Any]
    label: str | None
    maturity: str | None
    url: str | None
    depends_on: tuple[str, ...]
    where: Location


def exposure(entry: Mapping[str, Any], path: str) -> Exposure:
    """Read an entry of ``exposures:``. Raises ProjectError, located."""
    where = Location(path, yamlfile.line_of(entry))
    name = str(entry["name"])
    for key in entry:
        if key not in _KEYS:
            raise ProjectError(f"exposure {name} has no {key!r}", where=where, hint=did_you_mean(str(key), _KEYS))
    if not re.fullmatch(r"\w+", name):
        raise ProjectError(
            f"{name!r} cannot name an exposure", where=where, hint="letters, digits, underscores; label:"
        )
    kind = str(entry.get("type"))
    if kind not in _TYPES:
        said = f"has the type {kind!r}" if entry.get("type") else "has no type"
        raise ProjectError(f"exposure {name} {said}", where=where, hint=did_you_mean(kind, _TYPES))
    owner = entry.get("owner")
    if not isinstance(owner, Mapping) or not (owner.get("name") or owner.get("email")):
        raise ProjectError(f"exposure {name} has no owner", where=where, hint="owner: {name: Ada, email: ada@…}")
    maturity = entry.get("maturity")
    if maturity is not None and maturity not in _MATURITIES:
        hint = did_you_mean(str(maturity), _MATURITIES)
        raise ProjectError(f"exposure {name} has the maturity {maturity!r}", where=where, hint=hint)
    depends_on = entry.get("depends_on") or []
    if not isinstance(depends_on, list):
        raise ProjectError(f"exposure {name}: depends_on is a list", where=where, hint="- ref('orders')")
    return Exposure(
        type=kind,
        owner=dict(owner),
        label=entry.get("label"),
        maturity=maturity,
        url=entry.get("url"),
        depends_on=tuple(map(str, depends_on)),
        where=where,
    )
