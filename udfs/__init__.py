"""Functions that SQL can call: on text, on tokens, and for labels. They know nothing of tables.

The modules of this package are what all share: errors, the contract of an expensive function, hashes, the registry.
"""
