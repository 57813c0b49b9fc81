"""Write a mixture to MDS shards.

Goes in: a mixture at a snapshot. Comes out: shards in a store by content, and an export: index files over links to
them, a manifest, and a table of which sample holds which document. Main names: ``write.export``, ``verify.verify``.

In order: ``mixtures.mixture.freeze`` reads the mixture at one snapshot; ``plan`` cuts its streams into buckets and asks
``store`` which units are there; ``encode`` reads texts and writes the missing units with ``packing``; ``assemble``
links shards into an export; ``destinations`` puts it in place; ``write`` does all of it; ``verify`` reads it back.

A component whose documents have k or k + 1 copies is two MDS folders: ``all``, repeated k times, and ``more``, once.
``repeat`` is a whole number, so Streaming's random generator chooses nothing. With ``--copies``, ``all`` is k folders
of the same shards, and nothing repeats. A sample id is the sample's position over the streams in the manifest's order,
each counted once: StreamingDataset's own numbering. ``index.json`` above several streams lists all shards below it.

Memory does not grow with the export: 384 MiB of prepared documents (more goes to spill files), two units of about
48 MiB in work, 1 GiB for DuckDB. A single document larger than a bucket makes its unit that large.
"""
