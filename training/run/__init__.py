"""One training run by Composer's Trainer: data, objective, optimizer, measurements.

Main name: ``run.train``.
"""
