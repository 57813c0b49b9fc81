"""Render dbt's templates into SQL.

Goes in: a ``Project``, variables, a target, and what the database answers. Comes out: ``Rendered`` values: SQL, config,
the nodes it refers to, and from which line of which file each line comes. Main name: ``renderer.Renderer``.
"""
