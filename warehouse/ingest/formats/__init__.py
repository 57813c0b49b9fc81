"""Read files of one format each into batches of records.

Goes in: bytes. Comes out: ``records.Batch`` values; what cannot be read becomes a reject with its reason.
Main name: ``detection.detect``, which tells a format by content.
"""
