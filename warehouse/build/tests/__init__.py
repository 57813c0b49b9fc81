"""Run tests: queries that return failing rows, and unit tests with rows that are given.

Goes in: a test's step. Comes out: a verdict, and on request the failing rows as a table.
"""
