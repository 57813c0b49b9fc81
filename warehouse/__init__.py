"""The engine: documents in a lake of Parquet tables, SQL models over them, mixtures and their export.

The packages, from the ground up, are listed in warehouse/README.md; each imports only those listed before it.
"""
