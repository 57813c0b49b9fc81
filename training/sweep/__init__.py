"""Several runs of one recipe: a trunk and its anneals, their plan, results and picture.

Main name: ``anneal.anneal``.
"""
