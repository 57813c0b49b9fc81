"""Taxonomies: categories and their codes, read from seeds or files of a project.

Main names: ``taxonomy.Taxonomy``, ``taxonomies.Taxonomies``; ``external_labels`` reads what others wrote as codes.
"""
