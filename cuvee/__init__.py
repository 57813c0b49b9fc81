"""The public face of Cuvée: a few names over its packages."""
