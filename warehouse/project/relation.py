"""A relation as templates and SQL name it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from warehouse.lake.quoting import quote

#: The name under which the lake is attached, and so the database of every relation in it.
LAKE = "lake"
#: What the CTE of an ephemeral model is called, before the model's name.
EPHEMERAL = "__dbt__cte__"

_PARTS = ("database", "schema", "identifier")
_ALL = (True, True, True)
_CATALOG = re.compile(rf'(?<![\w".])(?:"{LAKE}"|{LAKE})\s*\.\s*"?information_schema"?\s*\.\s*"?(\w+)"?', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Relation(Mapping[str, Any]):
    """A table, a view or an ephemeral model; as text, its quoted name.

    It passes for a mapping of its own attributes, because dbt's does, and packages ask that of what they are given.
    """

    schema: str
    identifier: str
    database: str | None = LAKE
    type: str | None = None  # table | view | cte
    shown: tuple[bool, bool, bool] = _ALL
    limited: str | None = None  # a subquery that replaces the relation
    quoting: tuple[bool, bool, bool] = _ALL

    Table = "table"
    View = "view"
    CTE = "cte"
    External = "external"
    MaterializedView = "materialized_view"

    @classmethod
    def create(
        cls,
        database: str | None = None,
        schema: str | None = None,
        identifier: str | None = None,
        type: str | None = None,
        **_: Any,
    ) -> Relation:
        """Make a relation of its names, any of which may be left out."""
        return cls(schema or "", identifier or "", database, type)

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
    def path(self) -> Relation:
        return self

    @property
    def metadata(self) -> dict[str, str]:
        return {"type": "DuckDBRelation"}

    @property
    def is_table(self) -> bool:
        return self.type == "table"

    @property
    def is_view(self) -> bool:
        return self.type == "view"

    @property
    def is_cte(self) -> bool:
        return self.type == "cte"

    @property
    def is_materialized_view(self) -> bool:
        return False

    def render(self) -> str:
        """Return the quoted name of the whole relation, as in dbt, even if a sample of it is read."""
        if self.is_cte:
            return self.identifier
        return ".".join(
            quote(part) if quoted else part
            for part, shown, quoted in zip(
                (self.database, self.schema, self.identifier), self.shown, self.quoting, strict=True
            )
            if part and shown
        )

    def include(
        self, database: bool | None = None, schema: bool | None = None, identifier: bool | None = None
    ) -> Relation:
        """Return the relation under a name with only these parts. Parts that are not given stay."""
        return replace(self, shown=_changed(self.shown, (database, schema, identifier)))

    def quote(
        self, database: bool | None = None, schema: bool | None = None, identifier: bool | None = None
    ) -> Relation:
        """Return the relation under a name with these parts quoted. Parts that are not given stay."""
        return replace(self, quoting=_changed(self.quoting, (database, schema, identifier)))

    def quoted(self, identifier: str) -> str:
        return quote(identifier)

    def incorporate(self, path: Mapping[str, Any] | None = None, type: str | None = None, **_: Any) -> Relation:
        given = {name: value for name, value in (path or {}).items() if name in _PARTS}
        for name in ("schema", "identifier"):
            if name in given:
                given[name] = given[name] or ""
        return replace(self, type=type or self.type, **given)

    def replace_path(self, **path: Any) -> Relation:
        return self.incorporate(path)

    def without_identifier(self) -> Relation:
        return replace(self.include(identifier=False), identifier="", type=None)

    def information_schema(self, view_name: Any = None) -> Relation:
        """Return the database's information schema; ``view_name`` is one of its views."""
        view = view_name if isinstance(view_name, str) else ""
        return replace(
            self, schema="INFORMATION_SCHEMA", identifier=view, type=None, quoting=(self.quoting[0], False, False)
        )

    def matches(self, database: str | None = None, schema: str | None = None, identifier: str | None = None) -> bool:
        given = zip((database, schema, identifier), (self.database, self.schema, self.identifier), strict=True)
        return all(asked is None or asked.lower() == (own or "").lower() for asked, own in given)

    def get(self, key: str, default: Any = None) -> Any:
        return getattr(self, key, default)

    def __getitem__(self, key: str) -> Any:
        try:
            return getattr(self, key)
        except AttributeError:
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[str]:
        return iter(_PARTS)

    def __len__(self) -> int:
        return len(_PARTS)

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return self.limited or self.render()


def readable(sql: str) -> str:
    """Return SQL in which ``lake.information_schema`` can be read: a DuckLake catalog has none of its own."""
    if "information_schema" not in sql.lower():
        return sql
    return _CATALOG.sub(_own_part, sql)


def _own_part(found: re.Match[str]) -> str:
    column = "catalog_name" if found[1].lower() == "schemata" else "table_catalog"
    return f"(select * from system.information_schema.{found[1]} where {column} = '{LAKE}')"


def _changed(
    before: tuple[bool, bool, bool], given: tuple[bool | None, bool | None, bool | None]
) -> tuple[bool, bool, bool]:
    first, second, third = (old if new is None else new for old, new in zip(before, given, strict=True))
    return first, second, third
