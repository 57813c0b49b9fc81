"""Recipes: YAML files read into frozen dataclasses, learning-rate schedules, and the exports that a recipe names.

Main names: ``recipe.read_recipe``, ``schedules``, ``exports.find``.
"""
