"""Turn the query of a node into a change of the lake.

One module for each materialization: tables and views, incremental models, microbatches, snapshots; and contracts, which
are checked before a change is committed. Main names: ``tables.table``, ``tables.Change``.
"""
