"""Read labels that come from outside, and write requests for batch services.

Goes in: tables of labels, response files. Comes out: rows in the stores of the labelling function.
"""
