"""Plan and run a build.

Goes in: a loaded project and a selection. Comes out: tables, views and test results, each commit with the state that
lets the next build skip what did not change. Main names: ``build.build``, ``plan.make``, ``execution.Execution``.

What of dbt there is: ``dbt_project.yml`` (paths, vars, config of folders), targets of ``profiles.yml``, ``schema.yml``
(descriptions, columns, config, tests), sources and their freshness, seeds, macros, packages under ``dbt_packages/``,
``adapter.dispatch``, ``run_query``, dbt's cross-database macros with dbt-duckdb's values and types, all of dbt_utils,
singular, generic and unit tests, docs blocks, exposures, ``selectors.yml``, ``run-operation``, hooks, contracts,
custom schemas and aliases, ``view``, ``table``, ``ephemeral``, ``incremental`` (append, delete+insert, merge,
microbatch), snapshots, ``--state``, ``--defer``, ``--empty``, ``--sample``, ``retry``, ``docs``.

Differences on purpose:

- A name that nothing defines is an error when it is printed; dbt prints nothing.
- A model may name another model's table without ``ref``; the graph finds it.
- A snapshot whose rows share a ``unique_key`` is an error; dbt multiplies their versions.
- A contract is kept by the type that the query has, or by the one that the lake's table will have (BIGINT for a sum).
- ``exclude`` next to ``method: selector`` counts; dbt ignores it.
- Constraints ``foreign_key`` and ``custom`` are not enforced, and a build says so.
- A template that asks the database is rendered again when its node is built. Before that, the answer is empty, and the
  SQL need not parse.
"""
