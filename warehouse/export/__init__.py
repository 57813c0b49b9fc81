"""Mixtures to MDS shards: plan which documents go where, encode them once, link the shards into an export."""
