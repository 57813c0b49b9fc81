"""Remove documents from everything that holds them.

Goes in: ids of documents. Comes out: a plan of what refers to them, and one commit without them; snapshots, stores and
shards follow. Main names: ``forget.plan``, ``document_references``.
"""
