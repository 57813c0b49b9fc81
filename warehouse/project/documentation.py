"""Docs blocks: ``{% docs name %}…{% enddocs %}`` in .md files, and ``doc('name')`` in descriptions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from udfs.errors import Location, ProjectError

if TYPE_CHECKING:
    pass

_OPENING = re.compile(r"\{%-?\s*docs\s+(\w+)\s*-?%\}")
_CLOSING = re.compile(r"\{%-?\s*enddocs\s*-?%\}")


@dataclass(frozen=True, slots=True)
class DocsBlock:
    """A text that descriptions may take by its name. It is not a template itself."""

    package: str
    name: str
    text: str
    where: Location


def blocks(text: str, path: str, package: str) -> Iterator[DocsBlock]:
    """Return the docs blocks of a .md file. Raises ProjectError for one that does not end."""
    position = 0
    while opening := _OPENING.search(text, position):
        where = Location(path, text.count("\n", 0, opening.start()) + 1)
        closing = _CLOSING.search(text, opening.end())
        following = _OPENING.search(text, opening.end())
        if closing is None or (following and following.start() < closing.start()):
            raise ProjectError(f"the docs block {opening[1]} does not end", where=where, hint="{% enddocs %}")
        yield DocsBlock(package, opening[1], text[opening.end() : closing.start()].strip(), where)
        position = closing.end()
