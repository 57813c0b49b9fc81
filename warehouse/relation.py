"""A relation as templates and SQL name it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

#: The name under which the lake is attached, and so the database of every relation in it.
LAKE = "lake"
#: What the CTE of an ephemeral model is called, before the model's name.
EPHEMERAL = "__dbt__cte__"


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, a view or an ephemeral model; as text, its quoted name."""

    schema: str
    identifier: str
    database: str | None = LAKE
    type: str | None = None  # table | view | cte
    shown: tuple[bool, bool, bool] = (True, True, True)
    limited: str | None = None  # a subquery that stands in for the relation

    @property
    def key(self) -> str:
        """``schema.name``, lower case: how the lake and the plan know it."""
        return f"{self.schema}.{self.identifier}".lower()

    @property
    def name(self) -> str:
        return self.identifier

    @property
    def table(self) -> str:
        return self.identifier

    @property
    def is_table(self) -> bool:
        return self.type == "table"

    @property
    def is_view(self) -> bool:
        return self.type == "view"

    @property
    def is_cte(self) -> bool:
        return self.type == "cte"

    def render(self) -> str:
        """The name as SQL reads it."""
        if self.limited:
            return self.limited
        if self.is_cte:
            return self.identifier
        parts = [
            part
            for part, shown in zip((self.database, self.schema, self.identifier), self.shown, strict=True)
            if part and shown
        ]
        return ".".join(quote(part) for part in parts)

    def include(self, database: bool = True, schema: bool = True, identifier: bool = True) -> Relation:
        return replace(self, shown=(database, schema, identifier))

    def incorporate(self, path: Any = None, type: str | None = None, **_: Any) -> Relation:
        path = path or {}
        return replace(
            self,
            schema=path.get("schema", self.schema),
            identifier=path.get("identifier", self.identifier),
            type=type or self.type,
        )

    def without_identifier(self) -> Relation:
        return self.include(identifier=False)

    def __str__(self) -> str:
        return self.render()

    def __iter__(self) -> Iterator[tuple[str, str | None]]:
        yield from (("database", self.database), ("schema", self.schema), ("identifier", self.identifier))


def quote(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
