"""Train a small labeler on the labels of another.

Main name: ``distil.distil``.
"""
