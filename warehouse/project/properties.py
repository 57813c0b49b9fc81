"""Properties of one node in schema.yml and config blocks: tests, columns, settings, exposures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import md5
from typing import Any

from udfs import yamlfile
from udfs.errors import Location, ProjectError, did_you_mean

#: Settings that a folder of dbt_project.yml may carry without the "+" prefix.
SETTINGS = frozenset({
    "materialized", "enabled", "tags", "meta", "schema", "alias", "database", "unique_key", "incremental_strategy",
    "on_schema_change", "full_refresh", "pre-hook", "post-hook", "pre_hook", "post_hook", "quoting",
    "quote_columns", "column_types", "delimiter", "persist_docs", "contract", "grants", "severity", "where",
    "limit", "warn_if", "error_if", "store_failures", "fail_calc", "max_error_share", "group", "access", "docs",
    "strategy", "updated_at", "check_cols", "hard_deletes", "invalidate_hard_deletes", "dbt_valid_to_current",
    "snapshot_meta_column_names", "target_schema", "target_database",
    "loaded_at_field", "loaded_at_query", "event_time", "begin", "batch_size", "lookback", "concurrent_batches",
    "sql_header", "incremental_predicates", "merge_update_columns", "merge_exclude_columns",
})  # fmt: skip
#: The end of the id of a model's version: ``orders.v2``.
_VERSION = re.compile(r"(\w+)\.v(.+)")
_ADDING = {"tags", "pre_hook", "post_hook"}
MAPPINGS = {"meta", "column_types", "docs", "persist_docs", "contract", "grants", "snapshot_meta_column_names"}
_EXPOSURE_KEYS = (
    "name", "type", "owner", "label", "description", "maturity", "url", "depends_on", "tags", "meta", "config",
)  # fmt: skip
_TYPES = ("dashboard", "notebook", "analysis", "ml", "application")
_MATURITIES = ("low", "medium", "high")


@dataclass(frozen=True, slots=True)
class Test:
    """A generic test as schema.yml states it: ``unique``, ``dbt_utils.at_least_one``, with its arguments."""

    name: str
    arguments: Mapping[str, Any]
    config: Mapping[str, Any]
    column: str | None
    title: str | None
    where: Location


@dataclass(frozen=True, slots=True)
class ColumnProperties:
    """A column as schema.yml describes it."""

    name: str
    description: str = ""
    data_type: str | None = None
    quote: bool = False
    constraints: tuple[Mapping[str, Any], ...] = ()
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Exposure:
    """An exposure of schema.yml. ``depends_on`` has references as they are written."""

    type: str
    owner: Mapping[str, Any]
    label: str | None
    maturity: str | None
    url: str | None
    depends_on: tuple[str, ...]
    where: Location


TEST_SETTINGS = {
    "severity", "where", "limit", "warn_if", "error_if", "store_failures", "fail_calc", "enabled", "tags", "meta",
    "store_failures_as", "schema", "alias",
}  # fmt: skip


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one config over another as dbt does: lists of tags and hooks add up, mappings merge, the rest replaces."""
    merged = dict(base)
    for key, value in over.items():
        key = setting(key)
        if key in _ADDING:
            merged[key] = list(dict.fromkeys([*listed(merged.get(key)), *listed(value)])) if key == "tags" else [
                *listed(merged.get(key)), *listed(value),
            ]  # fmt: skip
        elif key in MAPPINGS and isinstance(value, Mapping):
            merged[key] = {**(merged.get(key) or {}), **value}
        else:
            merged[key] = value
    return merged


def test_label(test: Test, target: str, *, source: bool) -> str:
    """Return dbt's name of a generic test of ``target``, made from its arguments: ``not_null_orders_order_id``."""
    namespace, _, name = test.name.rpartition(".")
    parts: list[Any] = []
    for _, value in sorted(test_kwargs(test).items()):
        parts += value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else [value]
    cleaned = "__".join(re.sub(r"[^0-9a-zA-Z_]+", "_", str(part)) for part in parts)
    kind = "_".join(filter(None, (namespace, "source" if source else "", name)))
    return f"{kind}_{target.replace('.', '_')}_{cleaned}"


def test_alias(name: str, test: Test | None, attached: str | None) -> str:
    """Return dbt's name of a test's file and of its table of failures. That of a generic test is cut off at 63."""
    if test is None or test.title or len(name) < 64 or attached is None:
        return name
    kind = test.name.replace(".", "_")
    kind = f"source_{kind}" if attached.startswith("source.") else kind
    target = attached.split(".", 2)[2].replace(".", "_")
    return f"{f'{kind}_{target}'[:30]}_{md5(name.encode(), usedforsecurity=False).hexdigest()}"


def test_kwargs(test: Test) -> dict[str, Any]:
    """Return a generic test's arguments with its column but without the model, as dbt's artifacts list them."""
    named = {"column_name": test.column} if test.column is not None else {}
    return {**named, **test.arguments}


def test_hash(label: str, test: Test, model: str) -> str:
    """Return the digits at the end of dbt's id of a generic test. ``model`` is the template for the tested node."""
    namespace, _, name = test.name.rpartition(".")
    metadata = {"kwargs": {**test_kwargs(test), "model": model}, "name": name, "namespace": namespace or None}
    digest = md5((label + repr(_as_text(metadata))).encode(), usedforsecurity=False).hexdigest()
    return digest[-10:]


def tested_template(attached: str) -> str:
    """Return the template by which dbt's artifacts name the node that a generic test tests."""
    kind, _package, name = attached.split(".", 2)
    names = name.split(".", 1) if kind == "source" else [name]
    called = ", ".join(f"'{each}'" for each in names)
    if kind == "model" and (version := _VERSION.fullmatch(name)):
        called = f"'{version[1]}', version='{version[2]}'"
    return f"{{{{ get_where_subquery({'source' if kind == 'source' else 'ref'}({called})) }}}}"


def _as_text(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_text(value[key]) for key in sorted(value)}
    return [_as_text(each) for each in value] if isinstance(value, list) else str(value)


def entry_config(entry: Mapping[str, Any]) -> dict[str, Any]:
    config = {setting(key): value for key, value in (entry.get("config") or {}).items()}
    for key in ("tags", "meta", "docs", "contract"):
        if entry.get(key) and key not in config:
            config[key] = entry[key]
    return config


def source_config(folder: Mapping[str, Any], source: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a source table's config: its folder's, its source's, its own.

    ``freshness`` and the column of the time may be next to ``config`` too. A table's limits are laid over its
    source's, and those of schema.yml replace the folder's; ``null`` takes all away.
    """
    config = merge(merge(folder, entry_config(source)), entry_config(table))
    levels = [level for entry in (source, table) for level in (entry, entry.get("config") or {})]
    limits = [level["freshness"] for level in levels if "freshness" in level]
    for index, given in enumerate(limits):
        before = config["freshness"] if index else None
        config["freshness"] = {**before, **given} if before and given else given
    for entry in (source, table):
        found = {**entry, **(entry.get("config") or {})}
        times = {name: found[name] for name in ("loaded_at_field", "loaded_at_query") if name in found}
        if times:
            config |= {"loaded_at_field": None, "loaded_at_query": None} | times
    return config


def columns(entry: Mapping[str, Any]) -> tuple[ColumnProperties, ...]:
    return tuple(
        ColumnProperties(
            str(column["name"]),
            str(column.get("description") or ""),
            column.get("data_type"),
            bool(column.get("quote")),
            constraints(column),
            yamlfile.line_of(column),
        )
        for column in entry.get("columns") or ()
        if isinstance(column, Mapping) and column.get("name")
    )


def constraints(entry: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Read the ``constraints:`` of a model or a column."""
    return tuple(spec for spec in entry.get("constraints") or () if isinstance(spec, Mapping))


def setting(key: str) -> str:
    return key.removeprefix("+").replace("-", "_")


def listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def exposure(entry: Mapping[str, Any], path: str) -> Exposure:
    """Read an entry of ``exposures:``. Raises ProjectError, located."""
    where = Location(path, yamlfile.line_of(entry))
    name = str(entry["name"])
    for key in entry:
        if key not in _EXPOSURE_KEYS:
            hint = did_you_mean(str(key), _EXPOSURE_KEYS)
            raise ProjectError(f"exposure {name} has no {key!r}", where=where, hint=hint)
    if not re.fullmatch(r"\w+", name):
        hint = "letters, digits, underscores; label:"
        raise ProjectError(f"{name!r} cannot name an exposure", where=where, hint=hint)
    kind = str(entry.get("type"))
    if kind not in _TYPES:
        said = f"has the type {kind!r}" if entry.get("type") else "has no type"
        raise ProjectError(f"exposure {name} {said}", where=where, hint=did_you_mean(kind, _TYPES))
    owner = entry.get("owner")
    if not isinstance(owner, Mapping) or not (owner.get("name") or owner.get("email")):
        raise ProjectError(f"exposure {name} has no owner", where=where, hint="owner: {name: Ada, email: ada@…}")
    maturity = entry.get("maturity")
    if maturity is not None and maturity not in _MATURITIES:
        hint = did_you_mean(str(maturity), _MATURITIES)
        raise ProjectError(f"exposure {name} has the maturity {maturity!r}", where=where, hint=hint)
    depends_on = entry.get("depends_on") or []
    if not isinstance(depends_on, list):
        raise ProjectError(f"exposure {name}: depends_on is a list", where=where, hint="- ref('orders')")
    return Exposure(
        type=kind,
        owner=dict(owner),
        label=entry.get("label"),
        maturity=maturity,
        url=entry.get("url"),
        depends_on=tuple(map(str, depends_on)),
        where=where,
    )
