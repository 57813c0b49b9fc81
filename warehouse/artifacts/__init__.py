"""Write and read the files that dbt's tools know.

Goes in: nodes and results. Comes out: manifest.json, run_results.json, catalog.json, and the page of ``cuvee docs``;
also the comparison of a project with an older manifest (``state:modified``).

``build``, ``run``, ``seed``, ``snapshot`` and ``test`` write the manifest (v12) and run_results.json (v6) into the
project's ``target/``, ``--target-path`` or ``DBT_TARGET_PATH``. ``compile`` and ``docs generate`` write the manifest
only, so ``retry`` still finds the last build. A build with nothing to do leaves the manifest alone. Ids are dbt's.
"""
