"""Engines that answer prompts: vLLM, transformers, HTTP servers, a fake; and the settings of all backends.

Main names: ``engine.Engine``, ``settings.BACKENDS``, ``engine.open_engine``.
"""
