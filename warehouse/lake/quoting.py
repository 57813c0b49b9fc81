"""Names and texts as SQL, whatever is in them."""

from __future__ import annotations


def quote(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    """An SQL string."""
    return "'" + str(value).replace("'", "''") + "'"
