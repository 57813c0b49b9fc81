"""Tokenizers: counting and encoding tokens.

Goes in: texts. Comes out: token counts or ids. Main names: ``tokenizer.Tokenizer``, ``tokenizer.find``.
"""
