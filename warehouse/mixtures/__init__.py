"""Report mixtures (what was asked, what was got), freeze them, and keep tokenizers.

Goes in: a mixture's relation (doc_id, component, copies, n_tokens). Comes out: figures by component, a fingerprint.

A model that the macro ``mixture`` (sql/macros/mixture.sql) did not make is a mixture too if it has the four columns.
"""
