"""The version of Cuvée. A constant: importlib.metadata, which knows it too, takes 30 ms to load."""

__version__ = "0.1.0"
