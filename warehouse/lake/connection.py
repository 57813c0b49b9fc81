"""DuckDB for the lake: its extensions, its errors, and how documents that a user names are read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING

from udfs.errors import CuveeError, UsageError, did_you_mean, first_line
from warehouse.lake.quoting import literal
from warehouse.lake.statements import check_query

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_RELATION = re.compile(r"\w+(\.\w+){0,2}")


def stream_texts(cursor: duckdb.DuckDBPyConnection, query: str, rows: int) -> pa.RecordBatchReader:
    """Run a query for long texts; batches of about ``rows`` rows are computed when they are read.

    DuckDB counts a string in the buffer of a result as 16 bytes, whatever its length: of texts with 5,700 characters
    it kept 200 MB there instead of 1. So the buffer may hold no more than the 2,048 rows that are computed at once.
    """
    cursor.execute("set streaming_buffer_size = '1KB'")
    return cursor.sql(query).to_arrow_reader(rows)


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
        if not _RELATION.fullmatch(source):
            check_query(reader, source)
        yield
    except duckdb.CatalogException as error:
        tables = reader.execute(
            "select table_name from information_schema.tables where table_catalog = 'lake' and table_schema = 'main'"
        ).fetchall()
        hint = did_you_mean(source, [table for (table,) in tables]) or "build the model first: cuvee build"
        raise UsageError(f"nothing in the lake to {purpose}: {first_line(error)}", hint=hint) from error
    except (duckdb.BinderException, duckdb.ParserException) as error:
        hint = "--from takes the name of a model, or SQL, with a column doc_id"
        raise UsageError(f"cannot read documents from {source!r}: {first_line(error)}", hint=hint) from error
    except duckdb.Error as error:
        raise CuveeError(f"cannot read documents from {source!r}: {error}") from error


def duckdb_error() -> type[Exception]:
    """Return the root of DuckDB's errors, for modules that must not load DuckDB themselves."""
    import duckdb

    return duckdb.Error


def load_extensions(connection: duckdb.DuckDBPyConnection) -> None:
    """Load the extensions that a lake needs. Raises CuveeError if their packages are missing or of another version."""
    import duckdb

    for extension in ("ducklake", "sqlite_scanner"):
        connection.execute(f"load {literal(_extension(extension, duckdb.__version__))}")


def _extension(name: str, version: str) -> Path:
    """Find a DuckDB extension that came as a PyPI package, so that an air-gapped machine needs no download."""
    package = util.find_spec(f"duckdb_extension_{name}")
    hint = f"pip install duckdb-extension-{name.replace('_', '-')}=={version}"
    if package is None or not package.submodule_search_locations:
        raise CuveeError(f"DuckDB's extension {name} is not installed", hint=hint)
    path = Path(package.submodule_search_locations[0], "extensions", f"v{version}", f"{name}.duckdb_extension")
    if not path.is_file():
        raise CuveeError(f"the installed extension {name} does not fit DuckDB {version}", hint=hint)
    return path
