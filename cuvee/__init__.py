"""Cuvée in Python: ``cuvee.connect`` opens a lake of documents; all else is a method of what it returns.

    import cuvee

    lake = cuvee.connect("lake")
    lake.ingest("papers/*.parquet", source="papers")
    lake.build()
    lake.sql("select component, count(*) from my_mixture group by component").df()
    lake.export("my_mixture", "exports/my_mixture", format="text")

The import loads nothing else. It raises ImportError if a folder of yours hides a package that Cuvée needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from cuvee import rooms

if TYPE_CHECKING:
    from cuvee.errors import BuildError, Error, IngestError
    from cuvee.session import Warehouse, connect

__all__ = ["BuildError", "Error", "IngestError", "Warehouse", "connect"]

if not rooms.is_command() and (_problem := rooms.hidden()):
    raise ImportError(_problem)


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(import_module("cuvee.errors" if name.endswith("Error") else "cuvee.session"), name)
    raise AttributeError(f"module 'cuvee' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return list(__all__)  # what Tab offers
