"""Parse rendered SQL and order the nodes.

Goes in: a renderer. Comes out: ``graph.Graph`` with a ``Step`` for each node, selections by dbt's syntax, and the
lineage of columns. Main names: ``graph.build``, ``selection.select``, ``loaded_project.open_project``.
"""
