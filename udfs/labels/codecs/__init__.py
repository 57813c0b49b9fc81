"""How labels are written as text, and read back from what a model wrote.

Main name: ``codecs.make``.
"""
