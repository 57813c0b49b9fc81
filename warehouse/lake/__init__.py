"""Keep tables as Parquet files under one transactional catalog (DuckLake).

Goes in: staged Parquet files and state rows. Comes out: one commit, snapshots, cursors to read with.
Main names: ``lake.Lake`` (open, cursor, staging, commit), ``commit.Commit``, ``maintenance`` (check, compact, expire),
``catalog``.
"""
