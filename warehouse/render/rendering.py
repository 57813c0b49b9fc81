"""One rendering: what goes in, what comes out, and what the names in its template ask of renderer and database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from udfs.errors import CuveeError, Location
from warehouse.project.batches import Batch
from warehouse.project.project import Node, Project, Target
from warehouse.project.relation import Relation
from warehouse.render.input_sample import InputSample
from warehouse.render.templates import Library, Macro, Session

if TYPE_CHECKING:
    from warehouse.render.label_names import LabelNames


@dataclass(frozen=True, slots=True)
class Rendered:
    """A node with its final config and SQL. ``lines[i]`` is the line in the node's file of line ``i`` of ``sql``."""

    node: Node
    relation: Relation | None = None
    sql: str = ""
    lines: tuple[int, ...] = ()
    refs: tuple[str, ...] = ()
    macros: Mapping[str, str] = field(default_factory=dict)
    live: bool = False  # the template asked for something only the database knows
    touched: frozenset[str] = frozenset()  # the names that the template used
    problem: CuveeError | None = None  # its template failed: the node fails when it is to be built

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


class Database(Protocol):
    """The questions of templates to the lake."""

    def relation_type(self, schema: str, identifier: str) -> str | None:
        """Return ``table`` or ``view``; None if there is no such relation."""

    def query(self, sql: str) -> tuple[list[str], list[str], list[tuple[Any, ...]]]:
        """Return column names, types and rows."""


class NoDatabase:
    """A lake in which nothing exists."""

    def relation_type(self, schema: str, identifier: str) -> str | None:
        return None

    def query(self, sql: str) -> tuple[list[str], list[str], list[tuple[Any, ...]]]:
        raise CuveeError("a template asked the database, but none is open")


class Resolver(Protocol):
    """The renderer as the names in templates see it: the project, its configuration, its relations."""

    project: Project
    target: Target
    given: dict[str, Any]
    database: Database
    sample: InputSample | None
    full_refresh: bool
    store_failures: bool
    say: Callable[[str], None]
    env_vars: dict[str, str | None]
    metadata: dict[str, str]
    selected: tuple[str, ...]
    invocation_id: str
    started: datetime
    library: Library
    errors: list[CuveeError]

    @property
    def taxonomies(self) -> LabelNames: ...
    def enabled(self, node: Node) -> bool: ...
    def is_enabled(self, node: Node) -> bool: ...
    def settings(self, node: Node) -> dict[str, Any]: ...
    def final_config(self, node: Node) -> Mapping[str, Any]: ...
    def relation(self, node: Node) -> Relation: ...
    def found_at(self, node: Node) -> Relation: ...
    def this(self, now: RenderContext) -> Relation: ...
    def rendered(self, node: Node) -> Rendered | None: ...
    def own(self, name: str) -> Macro | None: ...
    def value(self, value: Any, where: Location, names: Mapping[str, Any] | None = None) -> Any: ...
    def template_value(self, value: str, session: Session, where: Location) -> Any: ...
