"""Render the templates in descriptions: ``{{ doc('name') }}``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from udfs.errors import CuveeError, Location, ProjectError, did_you_mean
from warehouse.project.project import Node, Project
from warehouse.render.protocol import Resolver


def described(renderer: Resolver) -> Mapping[str, Node]:
    """Return all nodes with the templates in their descriptions rendered. Mistakes go to the renderer's errors."""
    nodes = dict(renderer.project.nodes)
    for node in renderer.project.nodes.values():
        texts = (node.description, *(column.description for column in node.columns))
        if not any("{{" in text or "{%" in text for text in texts):
            continue
        where = node.described_at or node.where
        names = {"doc": _Doc(renderer.project, node)}

        def rendered(text: str, where: Location = where, names: Mapping[str, Any] = names) -> str:
            try:
                return str(renderer.value(text, where, names))
            except CuveeError as error:
                renderer.errors.append(error)
                return text

        columns = tuple(
            replace(column, description=rendered(column.description, Location(where.path, column.line or where.line)))
            for column in node.columns
        )
        nodes[node.id] = replace(node, description=rendered(node.description), columns=columns)
    return nodes


class _Doc:
    """``doc('name')`` and ``doc('package', 'name')``: looks in the node's own package, then in the project."""

    def __init__(self, project: Project, node: Node) -> None:
        self._project, self._node = project, node

    def __call__(self, *names: str) -> str:
        docs = self._project.docs
        if len(names) not in (1, 2):
            raise ProjectError("doc() takes a name, or a package and a name")
        places = [names[0]] if len(names) == 2 else [self._node.package, *self._project.packages]
        for place in places:
            if found := docs.get((place, names[-1])):
                return found.text
        known = [".".join(each) if len(names) == 2 else each[1] for each in docs]
        hint = did_you_mean(".".join(names), known) or f"write {{% docs {names[-1]} %}}…{{% enddocs %}} in a .md file"
        raise ProjectError(f"no docs block is named {'.'.join(names)!r}", hint=hint)
