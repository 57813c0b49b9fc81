"""Protocols: what the names in templates need of the renderer and of the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from udfs.errors import CuveeError, Location
from warehouse.project.project import Node, Project
from warehouse.project.relation import Relation
from warehouse.project.target import Target
from warehouse.render.input_sample import InputSample
from warehouse.render.rendered import RenderContext, Rendered
from warehouse.render.templates import Library, Macro, Session

if TYPE_CHECKING:
    from warehouse.render.label_names import LabelNames


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
    def taxonomies(self) -> LabelNames:
        """The taxonomies that ``label_is`` and ``taxonomy_labels`` look up."""

    def enabled(self, node: Node) -> bool:
        """Check whether a node is enabled; its config is final."""

    def settings(self, node: Node) -> dict[str, Any]:
        """Return the config of a node as YAML files say."""

    def final_config(self, node: Node) -> Mapping[str, Any]:
        """Return the config of a node with its own ``config(...)`` call."""

    def relation(self, node: Node) -> Relation:
        """Return where the rows of a node are."""

    def found_at(self, node: Node) -> Relation:
        """Return where the rows of a node are read."""

    def this(self, now: RenderContext) -> Relation:
        """Return where the rows of the node are that is being rendered."""

    def find(self, name: str, package: str | None, local: str, version: Any = None) -> Node | None:
        """Return the node that a ref names."""

    def rendered(self, node: Node) -> Rendered | None:
        """Return a node as far as it was rendered already."""

    def own(self, name: str) -> Macro | None:
        """Return the project's version of a built-in macro."""

    def value(self, value: Any, where: Location, names: Mapping[str, Any] | None = None) -> Any:
        """Render the templates in a value of a YAML file."""

    def template_value(self, value: str, session: Session, where: Location) -> Any:
        """Render one template of a YAML file."""
