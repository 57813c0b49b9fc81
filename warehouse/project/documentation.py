"""Docs blocks: ``{% docs name %}…{% enddocs %}`` in .md files, and ``doc('name')`` in descriptions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from udfs.errors import CuveeError, Location, did_you_mean

if TYPE_CHECKING:
    from warehouse.project.project import Node, Project
    from warehouse.render.renderer import Renderer

_OPENING = re.compile(r"\{%-?\s*docs\s+(\w+)\s*-?%\}")
_CLOSING = re.compile(r"\{%-?\s*enddocs\s*-?%\}")


class DocsError(CuveeError):
    """A docs block cannot be read, or there is none of a name."""


@dataclass(frozen=True, slots=True)
class DocsBlock:
    """A text that descriptions may take by its name. It is no template itself."""

    package: str
    name: str
    text: str
    where: Location


def blocks(text: str, path: str, package: str) -> Iterator[DocsBlock]:
    """The docs blocks of a .md file. Raises DocsError for one that does not end."""
    position = 0
    while opening := _OPENING.search(text, position):
        where = Location(path, text.count("\n", 0, opening.start()) + 1)
        closing = _CLOSING.search(text, opening.end())
        following = _OPENING.search(text, opening.end())
        if closing is None or (following and following.start() < closing.start()):
            raise DocsError(f"the docs block {opening[1]} does not end", where=where, hint="{% enddocs %}")
        yield DocsBlock(package, opening[1], text[opening.end() : closing.start()].strip(), where)
        position = closing.end()


def described(renderer: Renderer) -> Mapping[str, Node]:
    """All nodes with the templates in their descriptions rendered; mistakes go to the renderer's errors."""
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
    """``doc('name')`` and ``doc('package', 'name')``: looked for at home first, then in the project."""

    def __init__(self, project: Project, node: Node) -> None:
        self._project, self._node = project, node

    def __call__(self, *names: str) -> str:
        docs = self._project.docs
        if len(names) not in (1, 2):
            raise DocsError("doc() takes a name, or a package and a name")
        places = [names[0]] if len(names) == 2 else [self._node.package, *self._project.packages]
        for place in places:
            if found := docs.get((place, names[-1])):
                return found.text
        known = [".".join(each) if len(names) == 2 else each[1] for each in docs]
        hint = did_you_mean(".".join(names), known) or f"write {{% docs {names[-1]} %}}…{{% enddocs %}} in a .md file"
        raise DocsError(f"no docs block is named {'.'.join(names)!r}", hint=hint)
