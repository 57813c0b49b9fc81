"""The contract of a model in schema.yml: its columns, their types and its constraints. Plain data types.

    config: {contract: {enforced: true}}
    columns: [{name: id, data_type: integer, constraints: [{type: not_null}]}]

``warehouse.build.materialize.contracts`` enforces it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from udfs.errors import Location, ProjectError, did_you_mean
from warehouse.project.project import Node

_ENFORCED = ("not_null", "check", "unique", "primary_key")
_KINDS = (*_ENFORCED, "foreign_key", "custom")
_POLICIES = ("append_new_columns", "fail")


@dataclass(frozen=True, slots=True)
class Rule:
    """A constraint on ``columns``. A check has a ``condition`` that each row must satisfy."""

    kind: str
    columns: tuple[str, ...]
    condition: str
    where: Location

    @property
    def title(self) -> str:
        return f"{self.kind} ({self.condition or ', '.join(self.columns)})"


@dataclass(frozen=True, slots=True)
class Contract:
    """The columns that a model promises, with their types, in order, and its constraints."""

    columns: tuple[tuple[str, str], ...]
    rules: tuple[Rule, ...]
    where: Location
    silent: tuple[str, ...]  # kinds of constraints that are not enforced and whose author wants to be told

    @property
    def terms(self) -> list[Any]:
        """Return all of it as plain values."""
        return [self.columns, [(rule.kind, rule.columns, rule.condition) for rule in self.rules]]


def contract(node: Node) -> Contract | None:
    """Return the contract of a model with its final config, or None. Raises ProjectError for wrong settings."""
    config = node.config.get("contract")
    materialized = node.config.get("materialized", "view")
    if node.kind != "model" or not isinstance(config, Mapping) or not config.get("enforced"):
        return None
    where = node.described_at or node.where
    if materialized == "incremental" and node.config.get("on_schema_change") not in _POLICIES:
        message = f"{node.name}: an incremental model with a contract needs on_schema_change"
        raise ProjectError(message, where=where, hint="on_schema_change: append_new_columns, or fail")
    untyped = [column.name for column in node.columns if not column.data_type]
    if untyped or not node.columns:
        what = f"no data_type for {', '.join(untyped)}" if untyped else "no columns"
        hint = "- {name: id, data_type: integer}"
        raise ProjectError(f"{node.name}: its contract has {what}", where=where, hint=hint)
    rules = [rule for column in node.columns for rule in _rules(node, column.constraints, (column.name,), column.line)]
    rules += _rules(node, node.constraints, (), where.line)
    given = [spec for column in node.columns for spec in column.constraints] + list(node.constraints)
    return Contract(
        tuple((column.name, str(column.data_type)) for column in node.columns),
        tuple(rules),
        where,
        tuple(
            str(spec["type"])
            for spec in given
            if spec["type"] not in _ENFORCED
            and spec.get("warn_unenforced", True)
            and spec.get("warn_unsupported", True)
        ),
    )


def _rules(
    node: Node, specs: Sequence[Mapping[str, Any]], columns: tuple[str, ...], line: int | None
) -> Iterator[Rule]:
    where = Location(node.described_at.path if node.described_at else node.path, line)
    for spec in specs:
        kind = spec.get("type")
        if kind not in _KINDS:
            hint = did_you_mean(str(kind), _KINDS)
            raise ProjectError(f"{node.name}: there is no constraint {kind!r}", where=where, hint=hint)
        about = columns or tuple(map(str, spec.get("columns") or ()))
        condition = str(spec.get("expression") or "") if kind == "check" else ""
        if kind in _ENFORCED and not (condition if kind == "check" else about):
            missing = "expression" if kind == "check" else "columns"
            raise ProjectError(f"{node.name}: its constraint {kind} has no {missing}", where=where)
        known = [column.name for column in node.columns]
        for name in about:
            if name not in known:
                message = f"{node.name}: its constraint {kind} names {name!r}, which is not one of its columns"
                raise ProjectError(message, where=where, hint=did_you_mean(name, known))
        if kind in ("not_null", "primary_key"):
            yield from (Rule("not_null", (name,), "", where) for name in about)
        if kind in ("unique", "primary_key"):
            yield Rule("unique", about, "", where)
        if kind == "check":
            yield Rule("check", about, condition, where)
