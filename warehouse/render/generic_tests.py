"""Render the SQL of a generic test: its macro is called with the tested node and the test's arguments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from udfs.errors import CuveeError, Location, did_you_mean
from warehouse.project.project import Node
from warehouse.project.properties import merge, setting
from warehouse.render.jinja_globals import BUILTIN
from warehouse.render.rendering import RenderContext, Resolver
from warehouse.render.templates import Macro, Session, TemplateError, Text


def test_macro(renderer: Resolver, node: Node) -> Macro | None:
    """Return the macro of a generic test: the package's own before the built-in one."""
    assert node.test is not None
    package, _, name = node.test.name.rpartition(".")
    project, macros = renderer.project, renderer.library.macros
    candidates = [package] if package else [node.package, project.name, *project.packages, BUILTIN]
    return next((found for place in candidates if (found := macros.get(place, {}).get(f"test_{name}"))), None)


def rendered_test(renderer: Resolver, now: RenderContext, session: Session) -> Text:
    """Render the SQL of a generic test. Its references, and the config of its macro, go to ``now``.

    Raises CuveeError if there is no such test, TemplateError, located, if its macro fails.
    """
    test, node = now.node.test, now.node
    assert test is not None and node.attached is not None
    macro = test_macro(renderer, node)
    if macro is None:
        known = [
            key.removeprefix("test_") if place in (BUILTIN, renderer.project.name) else f"{place}.{key[5:]}"
            for place, macros in renderer.library.macros.items()
            for key in macros
            if key.startswith("test_")
        ]
        raise CuveeError(f"no test is named {test.name!r}", where=test.where, hint=did_you_mean(test.name, known))
    attached = renderer.project.nodes.get(node.attached)
    if attached is None:
        return Text("", ())  # the description of a missing model is reported when the project is read
    now.refs.append(attached.id)
    relation = renderer.found_at(attached)
    model: Any = relation
    if now.config.get("where"):
        where = now.config["where"] = renderer.template_value(str(now.config["where"]), session, test.where)
        limited = f"(select * from {relation.render()} where {where}) as dbt_subquery"
        model = replace(relation, limited=limited)
    if own := renderer.own("get_where_subquery"):
        model = session.macro(own)(relation)
    arguments = {key: _argument(renderer, value, session, test.where) for key, value in test.arguments.items()}
    if test.column is not None:
        arguments.setdefault("column_name", test.column)
    arguments.pop("model", None)
    try:
        sql = str(session.macro(macro)(model, **arguments)).strip()
    except CuveeError as error:
        raise TemplateError(error.message, where=error.where or test.where, hint=error.hint) from error
    except Exception as error:
        raise TemplateError(f"test {test.name}: {error}", where=test.where) from error
    # What schema.yml says of this one test counts before the config of its macro.
    said = {setting(name) for name in test.config}
    now.config = merge(now.config, {name: value for name, value in renderer.settings(node).items() if name in said})
    return Text(sql, (test.where.line or 1,) * (sql.count("\n") + 1))


def _argument(renderer: Resolver, value: Any, session: Session, where: Location) -> Any:
    """Render an argument of a test. ``ref('orders')`` is an expression even without braces, as in dbt."""
    if isinstance(value, list):
        return [_argument(renderer, item, session, where) for item in value]
    if isinstance(value, str):
        bare = value.strip()
        if bare.endswith(")") and (bare.startswith("ref(") or bare.startswith("source(")):
            return renderer.template_value("{{" + bare + "}}", session, where)
        if "{{" in value:
            return renderer.template_value(value, session, where)
    return value
