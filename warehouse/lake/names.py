"""Decide what a relation of the lake may be called, and where its files are.

A relation is known as ``schema.name``, so a schema has no dot; a name may have any. A table whose schema and name are
names of folders as well has its files in ``data/SCHEMA/NAME``. For others DuckLake makes a folder of its own.
"""

from __future__ import annotations

import re
from pathlib import Path

_FOLDER = re.compile(r"[A-Za-z0-9_-]{1,200}")


def split_name(table: str) -> tuple[str, str]:
    """Return the schema and the name of ``schema.name``.

    >>> split_name("main.sales.2024")
    ('main', 'sales.2024')
    """
    schema, _, name = table.partition(".")
    return schema, name


def table_folder(schema: str, name: str) -> Path | None:
    """Return the folder of a table's files below the lake's data; None if DuckLake chooses one.

    >>> table_folder("main", "a/../b") is None
    True
    """
    return Path(schema, name) if _FOLDER.fullmatch(schema) and _FOLDER.fullmatch(name) else None


def staging_folder(table: str) -> str:
    """Return the folder of a table's files while they are staged, which is below the staging folder for any name."""
    return table if table_folder(*split_name(table)) else "other"


def unfit(schema: str, name: str) -> str | None:
    """Say why a relation cannot be called so; None if it can."""
    for what, text in (("schema", schema), ("name", name)):
        if not text.strip():
            return f"its {what} is empty"
        if any(ord(character) < 32 for character in text):
            return f"its {what} {text!r} has a control character"
        if len(text.encode("utf-8", "replace")) > 255:
            return f"its {what} has more than 255 bytes: {text[:40]}…"
    if "." in schema:
        return f"its schema {schema!r} has a dot: relations are known as schema.name"
    return None
