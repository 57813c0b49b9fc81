"""dbt-duckdb in a lake: `plugins: [{module: warehouse.dbt_plugin}]` in profiles.yml loads what the lake needs.

The extensions come from the Python packages that Cuvée uses too, so dbt needs no download.
"""

from __future__ import annotations

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin

from warehouse.lake import load_extensions


class Plugin(BasePlugin):
    """Readies each connection of dbt before it attaches the lake."""

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Load the lake's extensions."""
        load_extensions(conn)
