"""Hooks: statements before and after a node, and before and after a whole run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from udfs.errors import Location, ProjectError
from warehouse.lake.connection import duckdb_error
from warehouse.project.relation import LAKE
from warehouse.project.results import NodeResult
from warehouse.render.node_view import ran

if TYPE_CHECKING:
    from warehouse.build.plan import Plan
    from warehouse.graph.loaded_project import LoadedProject
    from warehouse.graph.step import Step
    from warehouse.render.renderer import Renderer


def of_node(renderer: Renderer, step: Step, name: str) -> list[str]:
    """Render a node's ``pre_hook`` or ``post_hook``."""
    hooks = step.node.config.get(name) or []
    texts = [str(hook["sql"] if isinstance(hook, Mapping) else hook) for hook in hooks]
    rendered = (renderer.hook(text, Location(step.node.path), {"this": step.relation}, step.node) for text in texts)
    return [text for text in rendered if text]


def run(opened: LoadedProject, plan: Plan, so_far: Sequence[NodeResult], name: str, hooks: Sequence[str]) -> None:
    """Run on-run-start or on-run-end: each statement is a commit of its own. Raises ProjectError."""
    opened.database.refresh()
    schemas = sorted({each.step.relation.schema for each in plan if each.step.relation is not None})
    renderer, steps = opened.renderer, opened.graph.steps
    results = [ran(renderer, steps[result.node].node, result) for result in so_far] if hooks else []
    for text in hooks:
        names = {"schemas": schemas, "database_schemas": [(LAKE, each) for each in schemas], "results": results}
        if statement := renderer.hook(text, Location("dbt_project.yml"), names):
            with opened.lake.commit(f"build: {name}", author="cuvee build") as commit:
                try:
                    commit.sql(statement)
                except duckdb_error() as error:
                    message = str(error).split("\n\n")[0]
                    raise ProjectError(f"{name} failed: {message}", where=Location("dbt_project.yml")) from error
