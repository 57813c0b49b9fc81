"""Functions that SQL can call: on text, on tokens, and for labels. They know nothing of tables.

At this level stands what all share: errors, the contract of an expensive function, fingerprints, and the registry.
"""
