"""Models and checkpoints: building, starting weights, saving, conversion and export to Hugging Face folders.

Main names: ``models.make``, ``init_checkpoint``, ``huggingface.export``.
"""
