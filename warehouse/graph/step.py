"""A node of the graph with its SQL, and digests of SQL and values. A build compares them to find changes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from udfs.errors import CuveeError, Location
from warehouse.project.project import Node
from warehouse.project.relation import Relation
from warehouse.render.rendering import Rendered
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
    problem: CuveeError | None = None  # its template or its SQL is wrong: it fails when it is to be built

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


def query_digest(tree: exp.Expr) -> str:
    """Return a digest of a query. Comments, layout and the letter case of keywords and unquoted names do not count."""
    from sqlglot.optimizer.normalize_identifiers import normalize_identifiers

    normal = normalize_identifiers(tree.copy(), dialect="duckdb")
    return sha256(normal.sql("duckdb", comments=False, identify=True).encode()).hexdigest()[:32]


def text_digest(sql: str) -> str:
    """Return a digest of SQL that is not parsed. Line breaks and spaces do not count."""
    return sha256(" ".join(sql.split()).encode()).hexdigest()[:32]


def values_digest(*values: object) -> str:
    """Return a digest of plain values."""
    return sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:32]
