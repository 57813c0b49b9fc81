"""Commands on a dbt project: build, run, test, plan, ls, show, docs and the rest of dbt's verbs."""
