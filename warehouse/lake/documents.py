"""Documents that a user names: by a model, or by SQL that yields their ids."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from udfs.errors import CuveeError, UsageError, did_you_mean

if TYPE_CHECKING:
    import duckdb

_RELATION = re.compile(r"\w+(\.\w+){0,2}")


def relation_of(source: str) -> str:
    """Return a model's name as it is, SQL as a subquery."""
    return source if _RELATION.fullmatch(source) else f"({source.strip().rstrip(';')}\n)"


@contextmanager
def reading(reader: duckdb.DuckDBPyConnection, source: str, purpose: str) -> Iterator[None]:
    """Say what is wrong with ``source`` when a query over it fails; ``purpose`` completes "nothing in the lake to …".

    Raises UsageError, with the nearest models for one that is missing, or CuveeError.
    """
    import duckdb

    try:
        yield
    except duckdb.CatalogException as error:
        tables = reader.execute(
            "select table_name from information_schema.tables where table_catalog = 'lake' and table_schema = 'main'"
        ).fetchall()
        hint = did_you_mean(source, [table for (table,) in tables]) or "build the model first: cuvee build"
        raise UsageError(f"nothing in the lake to {purpose}: {_first_line(error)}", hint=hint) from error
    except (duckdb.BinderException, duckdb.ParserException) as error:
        hint = "--from takes the name of a model, or SQL, with a column doc_id"
        raise UsageError(f"cannot read documents from {source!r}: {_first_line(error)}", hint=hint) from error
    except duckdb.Error as error:
        raise CuveeError(f"cannot read documents from {source!r}: {error}") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
