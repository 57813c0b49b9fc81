"""Engines that answer prompts, or label texts without prompts: vLLM, transformers, HTTP servers, heads, a fake.

Main names: ``protocol.Engine``, ``backends.open_engine``.
"""
