"""Names and texts as SQL, whatever is in them."""

from __future__ import annotations


def quote(name: str) -> str:
    """Write a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    """Write a value as an SQL string."""
    return "'" + str(value).replace("'", "''") + "'"
