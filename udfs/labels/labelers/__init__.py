"""Labelers: what their files say, and how they ask an engine.

Main names: ``labeler.Spec``, ``labeler_registry.Catalogue``, ``prompted.PromptedLabeler``, ``zero_shot.ZeroShotLabeler``.
"""
