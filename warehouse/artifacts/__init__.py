"""Write and read the files that dbt's tools know.

Goes in: nodes and results. Comes out: manifest.json, run_results.json, catalog.json, and the page of ``cuvee docs``;
also the comparison of a project with an older manifest (``state:modified``).
"""
