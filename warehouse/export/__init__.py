"""Write a mixture to MDS shards.

Goes in: a mixture at a snapshot. Comes out: shards in a store by content, and an export: index files over links to
them, a manifest, and a table of which sample holds which document. Main names: ``write.export``, ``verify.verify``.
"""
