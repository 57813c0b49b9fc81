"""DuckDB for the lake: its extensions, its errors, and long texts read as a stream."""

from __future__ import annotations

from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING

from udfs.errors import CuveeError
from warehouse.lake.quoting import literal

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


def stream_texts(cursor: duckdb.DuckDBPyConnection, query: str, rows: int) -> pa.RecordBatchReader:
    """Run a query for long texts; batches of about ``rows`` rows are computed when they are read.

    DuckDB counts a string in the buffer of a result as 16 bytes, whatever its length: of texts with 5,700 characters
    it kept 200 MB there instead of 1. So the buffer may hold no more than the 2,048 rows that are computed at once.
    """
    cursor.execute("set streaming_buffer_size = '1KB'")
    return cursor.sql(query).to_arrow_reader(rows)


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
