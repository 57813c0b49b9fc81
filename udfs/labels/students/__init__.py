"""Small labelers that were trained: an encoder with heads, and files that llama.cpp wrote.

Main names: ``heads.Heads``, ``heads_form.HeadsForm``.
"""
