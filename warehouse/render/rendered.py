"""A rendered node, the context of one rendering, and the overrides of a unit test. Plain data types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from warehouse.project.batches import Batch
from warehouse.project.project import Node
from warehouse.project.relation import Relation


@dataclass(frozen=True, slots=True)
class Rendered:
    """A node with its final config and SQL. ``lines[i]`` is the line in the node's file of line ``i`` of ``sql``."""

    node: Node
    relation: Relation | None
    sql: str
    lines: tuple[int, ...]
    refs: tuple[str, ...]
    macros: Mapping[str, str]
    live: bool  # the template asked for something only the database knows
    touched: frozenset[str] = frozenset()  # the names that the template used

    @property
    def materialized(self) -> str:
        return str(self.node.config.get("materialized", "view"))


@dataclass(frozen=True, slots=True)
class Overrides:
    """The replacements that a unit test makes: relations by node, results of macros, variables."""

    inputs: Mapping[str, Relation]
    macros: Mapping[str, Any]
    vars: Mapping[str, Any]
    env_vars: Mapping[str, Any]


@dataclass(slots=True)
class RenderContext:
    """The references and settings that one rendering of one node collects."""

    node: Node
    config: dict[str, Any]
    execute: bool
    incremental: bool
    overrides: Overrides | None = None
    batch: Batch | None = None  # of a microbatch model
    refs: list[str] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)
