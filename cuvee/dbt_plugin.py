"""The plugin of dbt-duckdb: ``plugins: [{module: cuvee.dbt_plugin}]`` in profiles.yml."""

from warehouse.build.dbt_plugin import Plugin

__all__ = ["Plugin"]
