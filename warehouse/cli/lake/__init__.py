"""Commands on the lake: init, lake, ingest, attributes, forget, sql."""
