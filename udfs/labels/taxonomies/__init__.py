"""Taxonomies: categories and their codes, read from seeds or files of a project.

Main names: ``taxonomy.Taxonomy``, ``taxonomies.Taxonomies``, ``taxonomy.Pair``.
``external_labels`` reads labels from outside.
"""
