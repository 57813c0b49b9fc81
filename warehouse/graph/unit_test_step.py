"""A unit test as a node of the graph."""

from __future__ import annotations

import re
from dataclasses import replace

from udfs.errors import CuveeError
from warehouse.graph import parsing
from warehouse.graph.step import Step, query_digest, values_digest
from warehouse.project.project import Node, Project
from warehouse.project.relation import EPHEMERAL, Relation
from warehouse.project.unit_properties import UnitTest, UnitTestError
from warehouse.render.renderer import Renderer
from warehouse.render.rendering import Overrides, Rendered


def unit_test_step(renderer: Renderer, node: Node) -> Step:
    """Return the step of a unit test, which depends on its model. Raises UnitTestError if it cannot be understood.

    Its digest covers what the test states and the model's query as the test renders it.
    """
    unit, model = stated(renderer.project, node)
    overrides = overrides_of(renderer, node)
    rendered: Rendered | None = None
    digest = ""
    try:
        rendered = renderer.render_given(model, overrides, execute=False)
        if "is_incremental" in rendered.touched or not isinstance(unit.macros.get("is_incremental", False), bool):
            raise UnitTestError(
                f"unit test {node.name}: {model.name} asks is_incremental(), and the test does not say what it gives",
                where=node.where,
                hint="overrides: {macros: {is_incremental: false}}, or true and rows for the input this",
            )
        bare = Step(node.id, model, rendered, sql=rendered.sql, lines=rendered.lines)
        tree = parsing.parse(bare)
        digest = query_digest(tree) if tree is not None else " ".join(rendered.sql.split())
    except UnitTestError:
        raise
    except CuveeError:  # it will be said again, as the test's own error, when the test is run
        pass
    if unit.macros.get("is_incremental") is True and model.id not in overrides.inputs:
        message = f"unit test {node.name}: is_incremental() gives true, but no rows are given for the input this"
        raise UnitTestError(message, where=node.where, hint="- input: this")
    sql, lines = (rendered.sql, rendered.lines) if rendered else ("", ())
    digest = values_digest(digest, unit.terms)
    return Step(node.id, node, rendered, sql=sql, lines=lines, digest=digest, parents=(model.id,))


def stated(project: Project, node: Node) -> tuple[UnitTest, Node]:
    assert node.unit is not None and node.attached is not None
    return node.unit, project.nodes[node.attached]


def overrides_of(renderer: Renderer, node: Node) -> Overrides:
    """Return the names of a unit test's tables by the nodes that they replace, and its other overrides."""
    unit, model = stated(renderer.project, node)
    inputs: dict[str, Relation] = {}
    taken: set[str] = set()
    for given in unit.given:
        found = model
        if given.input != "this":
            what = f"unit test {node.name}"
            found = renderer.project.named(given.input, node.package, what, given.rows.where, renderer.is_enabled)
        if found.id in inputs:
            raise UnitTestError(f"unit test {node.name}: {given.input} is given twice", where=given.rows.where)
        parts = [found.source_name, found.name] if found.source_name else [found.name]
        name = EPHEMERAL + re.sub(r"\W", "_", "__".join(map(str, parts)))
        while name.lower() in taken:
            name += "_"
        taken.add(name.lower())
        inputs[found.id] = replace(renderer.relation(found), identifier=name, type="cte")
    return Overrides(inputs, unit.macros, unit.vars, unit.env_vars)
