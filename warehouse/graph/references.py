"""``ref('orders')`` and ``source('raw', 'documents')`` where YAML has them as text, without braces around."""

from __future__ import annotations

import ast

from udfs.errors import Location, ProjectError, did_you_mean
from warehouse.project.project import Node, Project


def node(project: Project, text: str, package: str, what: str, where: Location) -> Node:
    """Find the node that a text names, in ``package`` first. ``what`` begins the message of an error.

    Raises ProjectError, located, if the text is not a reference or the node does not exist.
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
        assert isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        names = [str(ast.literal_eval(each)) for each in call.args]
        options = {each.arg: ast.literal_eval(each.value) for each in call.keywords}
        source = call.func.id == "source"
        assert call.func.id in ("ref", "source") and len(names) in ((2,) if source else (1, 2))
        assert options.keys() <= (set() if source else {"v", "version"})
    except (SyntaxError, ValueError, AssertionError) as error:
        raise ProjectError(
            f"{what}: {text!r} is not a valid reference",
            where=where,
            hint="ref('orders') or source('raw', 'documents')",
        ) from error
    kinds = ("source",) if source else ("model", "seed", "snapshot")
    wanted = ".".join(names)
    places = (package, *project.packages)
    if not source and len(names) == 2:
        places, names = (names[0],), names[1:]
    version = options.get("v", options.get("version"))
    for place in places:
        key = f"source.{place}.{wanted}"
        if found := project.nodes.get(key) if source else project.referred(place, names[0], version):
            return found
    known = [f"{each.source_name}.{each.name}" if source else each.name for each in project.of_kind(*kinds)]
    raise ProjectError(
        f"{what}: there is no {'source' if source else 'model or seed'} {wanted}",
        where=where,
        hint=did_you_mean(wanted, known),
    )
