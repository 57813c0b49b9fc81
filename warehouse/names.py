"""The objects that templates call: ``config``, ``var``, ``adapter``, the rows of ``run_query``."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn

from udfs.errors import CuveeError, did_you_mean
from warehouse.project import Node
from warehouse.properties import merge
from warehouse.relation import Relation, quote
from warehouse.templates import MacroReturn, Session

if TYPE_CHECKING:
    from warehouse.render import Renderer

#: Packages look for macros of this one last; it holds the built-in ones, as in dbt.
BUILTIN = "dbt"


@dataclass(frozen=True, slots=True)
class Overrides:
    """What a unit test puts in the place of the project's own: relations by node, results of macros, variables."""

    inputs: Mapping[str, Relation]
    macros: Mapping[str, Any]
    vars: Mapping[str, Any]
    env_vars: Mapping[str, Any]


@dataclass(slots=True)
class Pass:
    """What one rendering of one node collects."""

    node: Node
    config: dict[str, Any]
    execute: bool
    incremental: bool
    overrides: Overrides | None = None
    refs: list[str] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)


class Result:
    """The rows of ``run_query``, with as much of agate's table as templates use."""

    def __init__(self, names: list[str], types: list[str], rows: list[tuple[Any, ...]]) -> None:
        self.column_names = tuple(names)
        self.column_types = tuple(types)
        self.rows = [Row(names, row) for row in rows]

    @cached_property
    def columns(self) -> list[ResultColumn]:
        return [ResultColumn(name, [row[name] for row in self.rows]) for name in self.column_names]

    def __iter__(self) -> Any:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]


class Row:
    """A row whose values are found by position or name."""

    def __init__(self, names: Iterable[str], values: Iterable[Any]) -> None:
        self._names, self._values = tuple(names), tuple(values)

    def __getitem__(self, key: int | str) -> Any:
        return self._values[key if isinstance(key, int) else self._names.index(key)]

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._names:
            raise AttributeError(name)
        return self[name]

    def keys(self) -> tuple[str, ...]:
        return self._names

    def values(self) -> tuple[Any, ...]:
        return self._values

    def items(self) -> list[tuple[str, Any]]:
        return list(zip(self._names, self._values, strict=True))


class ResultColumn:
    def __init__(self, name: str, values: list[Any]) -> None:
        self.name, self._values = name, values

    def values(self) -> list[Any]:
        return self._values

    def __iter__(self) -> Any:
        return iter(self._values)

    def __getitem__(self, index: int) -> Any:
        return self._values[index]

    def __len__(self) -> int:
        return len(self._values)


class Var:
    """``var('name', default)``: from the command line, then the package's own block, then the project's."""

    def __init__(self, renderer: Renderer, now: Pass) -> None:
        self._renderer, self._package = renderer, now.node.package
        self._overrides = now.overrides.vars if now.overrides else {}

    def _all(self) -> Mapping[str, Any]:
        variables = self._renderer.project.vars
        scoped = variables.get(self._package)
        scoped = scoped if isinstance(scoped, Mapping) else {}
        return {**variables, **scoped, **self._renderer.given, **self._overrides}

    def has_var(self, name: str) -> bool:
        return name in self._all()

    def __call__(self, name: str, default: Any = None) -> Any:
        variables = self._all()
        if name not in variables:
            if default is not None:
                return default
            raise CuveeError(
                f"no variable is named {name!r}",
                hint=did_you_mean(name, variables) or f"set it: --vars '{{{name}: …}}', or vars: in dbt_project.yml",
            )
        return variables[name]


class Config:
    """``config(...)`` sets, ``config.get(...)`` reads."""

    def __init__(self, now: Pass) -> None:
        self._now = now

    def __call__(self, *args: Mapping[str, Any], **settings: Any) -> str:
        given = dict(chain.from_iterable(arg.items() for arg in args)) | settings
        self._now.config = merge(self._now.config, given)
        return ""

    def get(self, name: str, default: Any = None, validator: Any = None) -> Any:
        value = self._now.config.get(name.replace("-", "_"))
        return default if value is None else value

    def require(self, name: str, validator: Any = None) -> Any:
        if name not in self._now.config:
            raise CuveeError(f"config has no {name!r}")
        return self._now.config[name]

    def meta_get(self, name: str, default: Any = None) -> Any:
        return (self._now.config.get("meta") or {}).get(name, default)

    def persist_relation_docs(self) -> bool:
        return False

    def persist_column_docs(self) -> bool:
        return False


class Exceptions:
    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer

    def raise_compiler_error(self, message: str, *_: Any) -> NoReturn:
        raise CuveeError(str(message))

    raise_database_error = raise_parsing_error = raise_not_implemented = raise_compiler_error

    def warn(self, message: str, *_: Any) -> str:
        self._renderer.say(f"warning: {message}")
        return ""


class Adapter:
    """What templates ask of dbt's adapter."""

    def __init__(self, renderer: Renderer, now: Pass, session: Session) -> None:
        self._renderer, self._now, self._session = renderer, now, session

    def dispatch(self, macro_name: str, macro_namespace: str | None = None, **_: Any) -> Callable[..., Any]:
        """The macro for DuckDB, else the default one, looked for in the packages that ``dispatch:`` lists."""
        namespace, _dot, name = macro_name.rpartition(".")
        namespace = macro_namespace or namespace or ""
        library, project = self._renderer.library, self._renderer.project
        order = project.dispatch.get(namespace) or (project.name, namespace or self._now.node.package, BUILTIN)
        for package in order:
            for prefix in ("duckdb__", "default__"):
                if macro := library.macros.get(package, {}).get(prefix + name):
                    return self._session.macro(macro)
        raise CuveeError(
            f"no macro duckdb__{name} or default__{name}", hint=f"looked in {', '.join(filter(None, order))}"
        )

    def get_relation(self, database: str | None = None, schema: str = "", identifier: str = "") -> Relation | None:
        kind = self._renderer.database.relation_type(schema, identifier) if self._now.execute else None
        return Relation(schema, identifier, type=kind) if kind else None

    def load_relation(self, relation: Relation) -> Relation | None:
        return self.get_relation(relation.database, relation.schema, relation.identifier)

    def get_columns_in_relation(self, relation: Relation) -> list[LakeColumn]:
        if not self._now.execute:
            return []
        _, _, rows = self._renderer.database.query(f"describe select * from {relation.render()}")
        return [LakeColumn(str(row[0]), str(row[1])) for row in rows]

    def quote(self, name: str) -> str:
        return quote(name)

    def type(self) -> str:
        return "duckdb"

    def already_exists(self, schema: str, identifier: str) -> bool:
        return self.get_relation(None, schema, identifier) is not None


@dataclass(frozen=True, slots=True)
class LakeColumn:
    """A column of a relation as templates see it."""

    name: str
    data_type: str

    @property
    def column(self) -> str:
        return self.name

    @property
    def dtype(self) -> str:
        return self.data_type.split("(")[0]

    @property
    def quoted(self) -> str:
        return quote(self.name)

    def is_string(self) -> bool:
        return self.dtype.lower() in ("varchar", "text", "string", "char")

    def is_numeric(self) -> bool:
        return self.dtype.lower() in ("decimal", "numeric")

    def is_integer(self) -> bool:
        return "int" in self.dtype.lower() and self.dtype.lower() != "interval"

    def is_float(self) -> bool:
        return self.dtype.lower() in ("float", "double", "real")

    def is_number(self) -> bool:
        return self.is_integer() or self.is_numeric() or self.is_float()


class Api:
    Relation = Relation
    Column = LakeColumn


@dataclass(frozen=True, slots=True)
class Flags:
    FULL_REFRESH: bool
    WHICH: str = "build"
    STORE_FAILURES: bool = False
    WARN_ERROR: bool = False


class GraphView:
    """The project as templates see it."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer

    @property
    def nodes(self) -> dict[str, Any]:
        return {
            node.id: {"name": node.name, "unique_id": node.id, "resource_type": node.kind, "fqn": list(node.fqn),
                      "config": dict(node.config), "package_name": node.package, "path": node.path, "schema": None}
            for node in self._renderer.project.of_kind("model", "seed", "snapshot", "test")
        }  # fmt: skip

    @property
    def sources(self) -> dict[str, Any]:
        return {
            node.id: {"name": node.name, "source_name": node.source_name, "schema": node.schema, "unique_id": node.id}
            for node in self._renderer.project.of_kind("source")
        }


def modules() -> Any:
    import itertools
    import re
    import types

    import pytz  # type: ignore[import-untyped]

    return types.SimpleNamespace(
        datetime=types.SimpleNamespace(
            datetime=datetime.datetime, date=datetime.date, time=datetime.time, timedelta=datetime.timedelta,
            timezone=datetime.timezone,
        ),
        pytz=types.SimpleNamespace(timezone=pytz.timezone, utc=pytz.utc, UTC=pytz.UTC),
        re=types.SimpleNamespace(
            match=re.match, search=re.search, sub=re.sub, findall=re.findall, split=re.split, fullmatch=re.fullmatch,
            compile=re.compile, escape=re.escape, IGNORECASE=re.IGNORECASE,
        ),
        itertools=types.SimpleNamespace(
            product=itertools.product, chain=itertools.chain, combinations=itertools.combinations,
            permutations=itertools.permutations, repeat=itertools.repeat, zip_longest=itertools.zip_longest,
        ),
    )  # fmt: skip


def give_back(value: Any = None) -> NoReturn:
    raise MacroReturn(value)


def local_md5(value: Any) -> str:
    from hashlib import md5

    return md5(str(value).encode(), usedforsecurity=False).hexdigest()


def to_yaml(value: Any, *, sort_keys: bool) -> str:
    import yaml

    return str(yaml.safe_dump(value, sort_keys=sort_keys))
