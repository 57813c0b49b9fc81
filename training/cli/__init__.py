"""The commands anneal, checkpoint and distil."""
