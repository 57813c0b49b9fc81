"""Labelers: what their files say, and how they ask an engine.

Main names: ``labeler_registry.LabelerRegistry``, ``prompted.PromptedLabeler``, ``zero_shot.ZeroShotLabeler``.
"""
