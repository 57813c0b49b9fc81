"""Functions of the text alone: quality signals, MinHash signatures, contamination, language.

Goes in: Arrow arrays of texts. Comes out: one row of values for each text.
"""
