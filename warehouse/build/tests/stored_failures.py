"""``store_failures``: keep the rows that break a test, as dbt does.

They go to ``<target schema>_dbt_test__audit``, or to the schema that the test's config names, under the name that dbt
gives the test. Each run of the test replaces them, also by none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from udfs.errors import did_you_mean
from warehouse.build.tests.checks import CheckError
from warehouse.project.project import Node
from warehouse.project.properties import test_alias
from warehouse.project.relation import Relation

if TYPE_CHECKING:
    from warehouse.graph.loaded_project import LoadedProject

_SCHEMA = "dbt_test__audit"
_KINDS = ("table", "view", "ephemeral")


def place(opened: LoadedProject, node: Node) -> Relation | None:
    """Return the relation of a test's failures; None if they are not kept. ``node`` has its final config.

    ``store_failures_as`` counts before ``store_failures``, and that before ``--store-failures``. Raises CheckError for
    a kind that there is not, and for a place that a node of the project has.
    """
    renderer = opened.renderer
    kind = node.config.get("store_failures_as")
    if kind is None:
        asked = node.config.get("store_failures")
        kind = "table" if (renderer.store_failures if asked is None else asked) else "ephemeral"
    if kind not in _KINDS:
        raise CheckError(
            f"test {node.name}: store_failures_as is {kind!r}",
            where=node.where,
            hint=did_you_mean(str(kind), _KINDS),
        )
    if kind == "ephemeral":
        return None
    schema = node.config.get("schema", _SCHEMA)
    config = {
        **node.config,
        "schema": schema,
        "alias": node.config.get("alias") or test_alias(node.name, node.test, node.attached),
    }
    relation = replace(renderer.relation(node, config), type=str(kind))
    for step in opened.graph.steps.values():
        if step.relation is not None and step.relation.key == relation.key:
            raise CheckError(
                f"failures of test {node.name} would be kept in {relation.key}, which is {step.node.kind} {step.name}",
                where=node.where,
                hint="give the test another schema or alias",
            )
    return relation


def places(opened: LoadedProject) -> Mapping[str, Relation]:
    """Return the relations of kept failures by the ids of their tests. Tests with wrong settings fail themselves."""
    found: dict[str, Relation] = {}
    for key, step in opened.graph.steps.items():
        if step.kind == "test":
            try:
                relation = place(opened, step.node)
            except CheckError:
                continue
            if relation is not None:
                found[key] = relation
    return found
