"""dbt-duckdb in a lake: `plugins: [{module: cuvee.dbt_plugin}]` in profiles.yml loads what the lake needs.

The extensions come from the Python packages that Cuvée uses too, so dbt needs no download. Vectorized functions
(``quality_signals`` and its like) are there for models to call; those that label or count tokens are not.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin

from udfs.registry import Resources, expensive_functions
from warehouse.build.scalar_functions import register
from warehouse.lake.connection import load_extensions


class Plugin(BasePlugin):
    """Prepares each connection of dbt before it attaches the lake."""

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Load the lake's extensions, and the functions. dbt runs in the project's folder."""
        load_extensions(conn)
        register(conn, expensive_functions(Resources(projects=(Path(),), tokenizers=Path("tokenizers"))))
