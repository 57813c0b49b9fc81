"""dbt's adapter as templates use it: relations and columns of the lake, and macros by database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from udfs.errors import CuveeError
from warehouse.lake.quoting import literal, quote
from warehouse.project.relation import LAKE, Relation
from warehouse.render.jinja_globals import BUILTIN, QueryResult
from warehouse.render.rendering import RenderContext, Resolver
from warehouse.render.templates import Session

_FLOATS = ("real", "float", "float4", "float8", "double")
_INTEGERS = (
    "tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint",
    "int1", "int2", "int4", "int8", "short", "int", "signed", "long",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LakeColumn:
    """A column of a relation as templates see it."""

    name: str
    dtype: str
    char_size: int | None = None
    numeric_precision: Any = None
    numeric_scale: Any = None

    @classmethod
    def create(cls, name: str, label_or_dtype: str) -> LakeColumn:
        return cls(name, cls.translate_type(label_or_dtype))

    @staticmethod
    def translate_type(dtype: str) -> str:
        return "TEXT" if dtype.upper() == "STRING" else dtype

    @staticmethod
    def string_type(size: int) -> str:
        return f"character varying({size})"

    @staticmethod
    def numeric_type(dtype: str, precision: Any, scale: Any) -> str:
        return dtype if precision is None or scale is None else f"{dtype}({precision},{scale})"

    @property
    def column(self) -> str:
        return self.name

    @property
    def quoted(self) -> str:
        return quote(self.name)

    @property
    def data_type(self) -> str:
        if self.is_string():
            return self.string_type(self.string_size())
        if self.is_numeric():
            return self.numeric_type(self.dtype, self.numeric_precision, self.numeric_scale)
        return self.dtype

    @property
    def expanded_data_type(self) -> str:
        return self.data_type

    def string_size(self) -> int:
        if not self.is_string():
            raise CuveeError(f"column {self.name} is {self.dtype}, which has no size")
        return 256 if self.char_size is None else self.char_size

    def literal(self, value: Any) -> str:
        return f"{value}::{self.data_type}"

    def can_expand_to(self, other: LakeColumn) -> bool:
        return self.is_string() and other.is_string() and other.string_size() > self.string_size()

    def is_string(self) -> bool:
        return self.dtype.lower() in ("text", "character varying", "character", "varchar")

    def is_numeric(self) -> bool:
        return self.dtype.lower() in ("decimal", "numeric")

    def is_integer(self) -> bool:
        return self.dtype.lower() in _INTEGERS

    def is_float(self) -> bool:
        return self.dtype.lower() in _FLOATS

    def is_number(self) -> bool:
        return self.is_integer() or self.is_numeric() or self.is_float()

    def is_struct(self) -> bool:
        return self.dtype.lower().startswith("struct") and not self.dtype.endswith("]")

    @property
    def fields(self) -> list[LakeColumn]:
        """Return the members of a struct."""
        if not self.is_struct():
            return []
        import duckdb

        try:
            members = duckdb.sqltype(self.dtype).children
        except duckdb.Error as error:
            raise CuveeError(f"column {self.name}: {self.dtype} is not a type of DuckDB") from error
        return [LakeColumn(name, str(kind)) for name, kind in members]

    def flatten(self) -> list[LakeColumn]:
        """Return the column, or the innermost members of a struct under dotted names."""
        if not self.is_struct():
            return [self]
        inner = [each for member in self.fields for each in member.flatten()]
        return [LakeColumn(f"{self.name}.{each.name}", each.dtype) for each in inner]


class Api:
    Relation = Relation
    Column = LakeColumn


class Behavior:
    """Flags of dbt_project.yml that change what macros do. All are off, as is dbt's default."""

    def __init__(self, flags: Any) -> None:
        self._flags = flags

    def __getattr__(self, name: str) -> Switch:
        if name.startswith("_"):
            raise AttributeError(name)
        return Switch(bool(self._flags.get(name)))


@dataclass(frozen=True, slots=True)
class Switch:
    no_warn: bool

    def __bool__(self) -> bool:
        return self.no_warn


@dataclass(frozen=True, slots=True)
class Response:
    """The answer of ``adapter.execute`` to a statement."""

    _message: str = "OK"
    code: str = "OK"
    rows_affected: int = -1

    def __str__(self) -> str:
        return self._message


_NOTHING: tuple[list[str], list[str], list[tuple[Any, ...]]] = ([], [], [])


@dataclass(slots=True)
class Adapter:
    """The ``adapter`` of templates. Before the build nothing is known: no relation, no column, no row."""

    _renderer: Resolver
    _now: RenderContext
    _session: Session
    _warned: set[str] = field(default_factory=set)

    # --- macros -----------------------------------------------------------------------------------------------

    def dispatch(self, macro_name: str, macro_namespace: str | None = None, **_: Any) -> Callable[..., Any]:
        """Find the macro for DuckDB, else the default one, in the packages that ``dispatch:`` lists."""
        if "." in macro_name:
            namespace, _dot, macro_name = macro_name.rpartition(".")
            macro_namespace = macro_namespace or namespace
        library, project = self._renderer.library, self._renderer.project
        here = (self._now.node.package, project.name, BUILTIN)  # where a name without a package is looked for
        order: Sequence[tuple[str, ...]]
        if macro_namespace and macro_namespace in project.dispatch:
            order = [(package,) for package in project.dispatch[macro_namespace]]
        elif macro_namespace and macro_namespace != BUILTIN:
            order = [(project.name,), (macro_namespace,), (BUILTIN,)]
        else:
            order = [here]
        for places in order:
            for prefix in ("duckdb__", "default__"):
                for package in places:
                    if macro := library.macros.get(package, {}).get(prefix + macro_name):
                        return self._session.macro(macro)
        looked = dict.fromkeys(package for places in order for package in places)
        hint = f"looked in {', '.join(looked)}"
        raise CuveeError(f"no macro duckdb__{macro_name} or default__{macro_name}", hint=hint)

    # --- relations --------------------------------------------------------------------------------------------

    def get_relation(self, database: str | None = None, schema: str = "", identifier: str = "") -> Relation | None:
        kind = self._renderer.database.relation_type(schema, identifier) if self._asks() else None
        return Relation(schema, identifier, type=kind) if kind else None

    def load_relation(self, relation: Relation) -> Relation | None:
        return self.get_relation(relation.database, relation.schema, relation.identifier)

    def already_exists(self, schema: str, name: str) -> bool:
        return self.get_relation(None, schema, name) is not None

    def list_relations(self, database: str | None, schema: str) -> list[Relation]:
        rows = self._query(
            "select table_name, case table_type when 'VIEW' then 'view' else 'table' end"
            f" from system.information_schema.tables where table_catalog = '{LAKE}'"
            f" and lower(table_schema) = lower({literal(schema)}) order by 1"
        )
        return [Relation(schema, str(name), type=str(kind)) for name, kind in rows]

    def check_schema_exists(self, database: str | None, schema: str) -> bool:
        return bool(
            self._query(
                "select 1 from system.information_schema.schemata"
                f" where catalog_name = '{LAKE}' and lower(schema_name) = lower({literal(schema)})"
            )
        )

    def create_schema(self, relation: Relation) -> None:
        self._query(f"create schema if not exists {relation.without_identifier()}")

    def drop_schema(self, relation: Relation) -> None:
        self._query(f"drop schema if exists {relation.without_identifier()} cascade")

    def drop_relation(self, relation: Relation) -> None:
        self._query(f"drop {relation.type or 'table'} if exists {relation}")

    def truncate_relation(self, relation: Relation) -> None:
        self._query(f"delete from {relation}")

    def rename_relation(self, from_relation: Relation, to_relation: Relation) -> None:
        kind = to_relation.type or from_relation.type or "table"
        self._query(f"alter {kind} {from_relation} rename to {quote(to_relation.identifier)}")

    # --- columns and rows -------------------------------------------------------------------------------------

    def get_columns_in_relation(self, relation: Relation) -> list[LakeColumn]:
        """Return the columns of a table or view; none if it does not exist."""
        return self._described(f"select * from {relation.render()}", missing_ok=True)

    def get_column_schema_from_query(self, sql: str) -> list[LakeColumn]:
        return self._described(sql)

    def get_columns_in_table(self, schema: str, identifier: str) -> list[LakeColumn]:
        return self.get_columns_in_relation(Relation(schema, identifier))

    def get_missing_columns(self, from_relation: Relation, to_relation: Relation) -> list[LakeColumn]:
        """Return the columns of the first that the second does not have."""
        known = {column.name for column in self.get_columns_in_relation(to_relation)}
        return [column for column in self.get_columns_in_relation(from_relation) if column.name not in known]

    def expand_target_column_types(self, from_relation: Relation, to_relation: Relation) -> None:
        """Do nothing: text has no size here."""

    def execute(
        self, sql: str, auto_begin: bool = False, fetch: bool = False, limit: int | None = None
    ) -> tuple[Response, QueryResult]:
        found = self._renderer.database.query(str(sql)) if self._asks() else _NOTHING
        names, types, rows = found if fetch else _NOTHING
        return Response(), QueryResult(names, types, rows if limit is None else rows[:limit])

    # --- words ------------------------------------------------------------------------------------------------

    def quote(self, identifier: str) -> str:
        return quote(identifier)

    def quote_as_configured(self, identifier: str, quote_key: str) -> str:
        return quote(identifier)

    def quote_seed_column(self, column: str, quote_config: bool | None = None) -> str:
        return quote(column) if quote_config in (True, None) else column

    def type(self) -> str:
        return "duckdb"

    @property
    def behavior(self) -> Behavior:
        return Behavior(self._renderer.project.flags)

    def valid_incremental_strategies(self) -> list[str]:
        return ["append", "delete+insert", "merge", "microbatch"]

    def is_motherduck(self) -> bool:
        return False

    def is_ducklake(self, relation: Relation) -> bool:
        return True

    def disable_transactions(self) -> bool:
        return False

    def warn_once(self, message: str) -> str:
        if message not in self._warned:
            self._warned.add(message)
            self._renderer.say(f"warning: {message}")
        return ""

    def commit(self) -> None:
        """Do nothing: what a template does to the database is committed at once."""

    def cache_added(self, relation: Relation) -> str:
        return ""  # nothing is kept that would grow stale

    cache_dropped = cache_added

    # ----------------------------------------------------------------------------------------------------------

    def _asks(self) -> bool:
        """Note that the template depends on the database. Return whether it may be queried now."""
        self._session.touched.add("asked")
        return self._now.execute

    def _query(self, sql: str) -> list[tuple[Any, ...]]:
        return self._renderer.database.query(sql)[2] if self._asks() else []

    def _described(self, sql: str, *, missing_ok: bool = False) -> list[LakeColumn]:
        try:
            return [LakeColumn(str(row[0]), str(row[1])) for row in self._query(f"describe {sql}")]
        except CuveeError as error:
            if missing_ok and type(error.__cause__).__name__ == "CatalogException":
                return []
            raise
