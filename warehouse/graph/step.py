"""A node of the graph with its SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from udfs.errors import Location
from warehouse.project.project import Node
from warehouse.project.relation import Relation
from warehouse.render.rendered import Rendered
from warehouse.render.templates import excerpt

if TYPE_CHECKING:
    from sqlglot import exp


@dataclass(frozen=True, slots=True)
class Step:
    """A node of the graph. ``sql`` is complete: the ephemeral models it refers to are in its WITH."""

    id: str
    node: Node
    rendered: Rendered | None = None  # None for sources
    relation: Relation | None = None
    sql: str = ""
    lines: tuple[int, ...] = ()
    digest: str = ""  # of the normalised SQL: comments and layout do not matter
    parents: tuple[str, ...] = ()
    external: tuple[str, ...] = ()  # lake tables that belong to no node, as ``schema.name``
    tree: exp.Expr | None = None

    @property
    def kind(self) -> str:
        """Its kind: seed, source, test, unit_test, or a model's materialization."""
        if self.node.kind != "model" or self.rendered is None:
            return self.node.kind
        return self.rendered.materialized

    @property
    def name(self) -> str:
        return self.node.name

    def locate(self, line: int | None, column: int | None = None) -> Location:
        """Return the place of a line of ``sql`` in the node's own file."""
        if self.node.test:
            return self.node.where
        source = self.lines[line - 1] if line and 0 < line <= len(self.lines) else None
        text = self.node.text.splitlines()
        same = source and 0 < source <= len(text) and line and text[source - 1] == self.sql.splitlines()[line - 1]
        return Location(self.node.path, source or None, column if same else None)

    def excerpt(self, where: Location) -> str | None:
        """Return the source line at ``where``."""
        return None if self.node.test else excerpt(self.node.text, where.line, where.column)
