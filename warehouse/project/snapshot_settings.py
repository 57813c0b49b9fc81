"""The settings of a snapshot: its strategy, its key, its rule for deleted rows, and the names of its own columns.

Also finds snapshots in files: ``{% snapshot name %} … {% endsnapshot %}``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from udfs.errors import Location, ProjectError, did_you_mean
from warehouse.project.project import Node

_STRATEGIES = ("timestamp", "check")
_DELETES = ("ignore", "invalidate", "new_record")
_COLUMNS = ("dbt_scd_id", "dbt_updated_at", "dbt_valid_from", "dbt_valid_to", "dbt_is_deleted")


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a snapshot. ``keys``, ``updated_at`` and ``current`` are SQL expressions."""

    strategy: str  # timestamp | check
    keys: tuple[str, ...]
    updated_at: str | None
    check: tuple[str, ...] | None  # None: all columns
    hard_deletes: str  # ignore | invalidate | new_record
    current: str | None  # the dbt_valid_to of rows that are valid now, if not NULL
    names: Mapping[str, str]  # dbt's name of each column → its name in the table

    @property
    def own(self) -> tuple[str, ...]:
        """The columns that are added to the query's, in the order of a new table."""
        kept = _COLUMNS if self.hard_deletes == "new_record" else _COLUMNS[:-1]
        return tuple(self.names[name] for name in kept)


def settings(node: Node) -> Settings:
    """Return the settings of a snapshot with its final config. Raises ProjectError for wrong ones."""
    config = node.config
    where = place(node)

    def refuse(message: str, hint: str | None = None) -> ProjectError:
        return ProjectError(f"snapshot {node.name}: {message}", where=where, hint=hint)

    strategy = config.get("strategy")
    if strategy is None:
        raise refuse("it has no strategy", "strategy: timestamp with updated_at, or strategy: check with check_cols")
    if strategy not in _STRATEGIES:
        raise refuse(f"strategy is {strategy!r}", did_you_mean(str(strategy), _STRATEGIES) or "timestamp or check")
    if str(config.get("materialized", "snapshot")) != "snapshot":
        raise refuse(f"materialized is {config['materialized']!r}", "a snapshot is always a table; leave it out")
    keys = _names(config.get("unique_key"))
    if not keys:
        raise refuse("it has no unique_key", "name the column, or the list of columns, that tells its rows apart")
    updated_at, check = config.get("updated_at"), config.get("check_cols")
    if strategy == "timestamp" and not updated_at:
        raise refuse("the timestamp strategy needs updated_at", "the column that says when a row changed")
    if strategy == "timestamp" and check:
        raise refuse("the timestamp strategy takes no check_cols", "leave them out, or use strategy: check")
    if strategy == "check" and (not check or (isinstance(check, str) and check != "all")):
        raise refuse(f"check_cols is {check!r}", "a list of columns, or 'all'")
    names = dict(config.get("snapshot_meta_column_names") or {})
    for name in names:
        if name not in _COLUMNS:
            raise refuse(f"snapshot_meta_column_names has {name!r}", did_you_mean(str(name), _COLUMNS))
    return Settings(
        strategy=str(strategy),
        keys=keys,
        updated_at=str(updated_at) if updated_at else None,
        check=None if check == "all" or not check else _names(check),
        hard_deletes=_hard_deletes(config, refuse),
        current=str(config["dbt_valid_to_current"]) if config.get("dbt_valid_to_current") else None,
        names={name: str(names.get(name) or name) for name in _COLUMNS},
    )


def _hard_deletes(config: Mapping[str, Any], refuse: Any) -> str:
    older, newer = config.get("invalidate_hard_deletes"), config.get("hard_deletes")
    if older is not None and newer is not None:
        raise refuse("it has both hard_deletes and invalidate_hard_deletes", "keep hard_deletes")
    chosen = str(newer or ("invalidate" if older else "ignore"))
    if chosen not in _DELETES:
        raise refuse(f"hard_deletes is {chosen!r}", did_you_mean(chosen, _DELETES) or ", ".join(_DELETES))
    return chosen


def place(node: Node) -> Location:
    """Return the place where a snapshot begins. Its text keeps the lines of its file."""
    return Location(node.path, node.text[: len(node.text) - len(node.text.lstrip())].count("\n") + 1)


_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_TAG = re.compile(r"\{%-?\s*(?:snapshot\s+(?P<name>\w+)|(?P<end>endsnapshot))\s*-?%\}")


def blocks(text: str, path: str) -> Iterator[tuple[str, str]]:
    """Name and template of each snapshot in a file. A template keeps its lines and columns: what is around it is
    blank. Raises ProjectError for a block without end, or an end without block.
    """
    seen = _COMMENT.sub(lambda found: _blank(found[0]), text)
    opened: re.Match[str] | None = None
    for tag in _TAG.finditer(seen):
        line = Location(path, text.count("\n", 0, tag.start()) + 1)
        if bool(tag["end"]) == (opened is None):
            message = "{% endsnapshot %} without a snapshot" if opened is None else "a snapshot inside a snapshot"
            raise ProjectError(message, where=line, hint="{% snapshot name %} … {% endsnapshot %}")
        if opened is not None:
            yield opened["name"], _blank(text[: opened.end()]) + text[opened.end() : tag.start()]
        opened = None if tag["end"] else tag
    if opened is not None:
        where = Location(path, text.count("\n", 0, opened.start()) + 1)
        raise ProjectError(f"snapshot {opened['name']} has no end", where=where, hint="{% endsnapshot %}")


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def _names(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(map(str, value or ()))
