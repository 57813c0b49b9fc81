"""The objects that templates call: ``config``, ``var``, ``adapter``, the rows of ``run_query``."""

from __future__ import annotations

import datetime
import itertools
import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import md5
from typing import Any, NoReturn

from udfs.errors import CuveeError, did_you_mean
from warehouse.project.properties import merge
from warehouse.render.rendering import RenderContext, Resolver
from warehouse.render.templates import MacroReturn

#: Packages look for macros of this one last; it holds the built-in ones, as in dbt.
BUILTIN = "dbt"


class Named(list[Any]):
    """A sequence with access by position or by name, like agate's rows and columns."""

    def __init__(self, names: Iterable[Any], things: Iterable[Any]) -> None:
        super().__init__(things)
        self._names = tuple(names)

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(self._names.index(key) if isinstance(key, str) else key)

    def keys(self) -> tuple[Any, ...]:
        return self._names

    def values(self) -> tuple[Any, ...]:
        return tuple(self)

    def items(self) -> list[tuple[Any, Any]]:
        return list(zip(self._names, self, strict=True))

    def get(self, key: Any, default: Any = None) -> Any:
        return self[self._names.index(key)] if key in self._names else default

    def dict(self) -> Mapping[Any, Any]:
        return dict(self.items())


class QueryResult:
    """The rows of ``run_query``, with as much of agate's table as templates use."""

    def __init__(self, names: list[str], types: list[str], rows: list[tuple[Any, ...]]) -> None:
        self.column_names = tuple(names)
        self.column_types = tuple(types)
        self.rows = Named(range(len(rows)), [Named(names, row) for row in rows])

    @cached_property
    def columns(self) -> Named:
        return Named(
            self.column_names,
            [
                QueryColumn(name, kind, [row[index] for row in self.rows])
                for index, (name, kind) in enumerate(zip(self.column_names, self.column_types, strict=True))
            ],
        )

    def print_table(self, **_: Any) -> str:
        return ""

    def __iter__(self) -> Any:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Named:
        return self.rows[index]  # type: ignore[no-any-return]


class QueryColumn:
    """A column of a result. Its values are tuples: printed, a tuple of strings is what SQL's IN expects."""

    def __init__(self, name: str, data_type: str, values: Iterable[Any]) -> None:
        self.name, self.data_type, self._values = name, data_type, tuple(values)

    def values(self) -> tuple[Any, ...]:
        return self._values

    def values_distinct(self) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(self._values))

    def values_without_nulls(self) -> tuple[Any, ...]:
        return tuple(value for value in self._values if value is not None)

    def __iter__(self) -> Any:
        return iter(self._values)

    def __getitem__(self, index: int) -> Any:
        return self._values[index]

    def __len__(self) -> int:
        return len(self._values)


#: What ``var`` is called with where no default is given: None is one.
_NO_DEFAULT = object()


class Var:
    """``var('name', default)``: from the command line, then the project's block for the package, then the project's.

    What the package of the calling model says itself comes last, as in dbt. A value may be a template.
    """

    def __init__(self, renderer: Resolver, now: RenderContext, render: Callable[[str], str]) -> None:
        self._renderer, self._package, self._render = renderer, now.node.package, render
        self._overrides = now.overrides.vars if now.overrides else {}

    def _all(self) -> Mapping[str, Any]:
        project = self._renderer.project
        own, variables = project.package_vars.get(self._package, {}), project.vars
        blocks = [own, own.get(self._package), variables, variables.get(self._package)]
        blocks += [self._renderer.given, self._overrides]
        return {name: value for block in blocks if isinstance(block, Mapping) for name, value in block.items()}

    def has_var(self, name: str) -> bool:
        return name in self._all()

    def __call__(self, name: str, default: Any = _NO_DEFAULT) -> Any:
        variables = self._all()
        if name not in variables:
            if default is not _NO_DEFAULT:
                return default
            hint = did_you_mean(name, variables) or f"set it: --vars '{{{name}: …}}', or vars: in dbt_project.yml"
            raise CuveeError(f"no variable is named {name!r}", hint=hint)
        value = variables[name]
        return self._render(value) if isinstance(value, str) and ("{{" in value or "{%" in value) else value


class Config:
    """``config(...)`` sets, ``config.get(...)`` reads."""

    def __init__(self, now: RenderContext) -> None:
        self._now = now

    def __call__(self, *args: Mapping[str, Any], **settings: Any) -> str:
        given = dict(itertools.chain.from_iterable(arg.items() for arg in args)) | settings
        self._now.config = merge(self._now.config, given)
        return ""

    def set(self, name: str, value: Any) -> str:
        return self(**{name: value})

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
    def __init__(self, renderer: Resolver) -> None:
        self._renderer = renderer

    def raise_compiler_error(self, message: str, *_: Any) -> NoReturn:
        raise CuveeError(str(message))

    raise_database_error = raise_parsing_error = raise_not_implemented = raise_compiler_error
    raise_contract_error = raise_dependency_error = raise_compiler_error

    def column_type_missing(self, column_names: Iterable[str]) -> NoReturn:
        raise CuveeError(f"no data_type is given for {', '.join(column_names)}")

    def warn(self, message: str, *_: Any) -> str:
        self._renderer.say(f"warning: {message}")
        return ""


@dataclass(frozen=True, slots=True)
class Flags:
    FULL_REFRESH: bool
    WHICH: str = "build"
    STORE_FAILURES: bool = False
    WARN_ERROR: bool = False
    WARN_ERROR_OPTIONS: None = None
    FAIL_FAST: bool = False
    DEBUG: bool = False
    QUIET: bool = False
    PRINT: bool = True
    USE_COLORS: bool = False
    EMPTY: bool = False
    INTROSPECT: bool = True
    LOG_FORMAT: str = "default"
    TARGET_PATH: str = "target"


@cache
def modules() -> Any:
    import pytz  # type: ignore[import-untyped]

    chosen = {
        datetime: ("date", "datetime", "time", "timedelta", "timezone", "tzinfo"),
        pytz: ("timezone", "utc", "UTC", "FixedOffset", "all_timezones", "common_timezones", "country_timezones"),
        re: re.__all__,
        itertools: (
            "accumulate", "chain", "combinations", "combinations_with_replacement", "compress", "count", "cycle",
            "islice", "permutations", "product", "repeat", "starmap", "tee", "zip_longest",
        ),
    }  # fmt: skip
    return types.SimpleNamespace(
        **{
            module.__name__: types.SimpleNamespace(**{name: getattr(module, name) for name in names})
            for module, names in chosen.items()
        }
    )


def give_back(value: Any = None) -> NoReturn:
    raise MacroReturn(value)


def local_md5(value: Any) -> str:
    return md5(str(value).encode(), usedforsecurity=False).hexdigest()


def to_yaml(value: Any, *, sort_keys: bool) -> str:
    import yaml

    return str(yaml.safe_dump(value, sort_keys=sort_keys))


def try_or_compiler_error(message_if_exception: str, func: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return func(*args, **kwargs)
    except Exception as error:
        raise CuveeError(str(message_if_exception)) from error


def diff_of_two_dicts(dict_a: Mapping[str, Iterable[str]], dict_b: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Return, for each key, the words of the first that the second lacks. Letter case does not matter."""
    known = {key.casefold(): {word.casefold() for word in words} for key, words in dict_b.items()}
    left = {
        key: [word for word in words if word.casefold() not in known.get(key.casefold(), ())]
        for key, words in dict_a.items()
    }
    return {key: words for key, words in left.items() if words or key.casefold() not in known}
