"""Compute the calls of expensive functions once, and keep their answers.

Goes in: SQL with calls such as ``label_document(text)``. Comes out: SQL that joins stored answers, after the inputs
without an answer were sent to the function. Main names: ``rewrite.rewrite``, ``answers.answered``, ``store``.
"""
