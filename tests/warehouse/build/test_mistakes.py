"""Mistakes in a project: each is told with its place, and one faulty node fails alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import write
from tests.warehouse.helpers import build
from udfs.errors import CuveeError
from warehouse.graph.loaded_project import open_project
from warehouse.lake.lake import Lake
from warehouse.project.project import ProjectErrors


def test_all_mistakes_are_told_at_once_with_their_places(lake: Lake, tmp_path: Path) -> None:
    root = write(
        tmp_path / "p",
        {
            "dbt_project.yml": "name: p",
            "models/orders.sql": "select 1 as a",
            "models/a.sql": "-- first\nselect *\nfrom {{ ref('ordres') }}\n",
            "models/b.sql": "select 1,\n\n  2 as b,\n  from from x\n",
            "models/c.sql": "select {{ var('nothing') }}",
            "models/d.sql": "{% if %}",
            "models/e.sql": "select {{ broken(1) }}",
            "models/f.sql": "select {{ unknown_macro() }}",
            "macros/m.sql": "{% macro broken(x) %}\n{{ x.y.z }}\n{% endmacro %}",
            "models/schema.yml": "models:\n  - name: orders\n    columns:\n      - name: a\n        tests: [uniqe]\n",
        },
    )
    with pytest.raises(ProjectErrors) as caught:
        build(lake, root)
    said = str(caught.value)
    assert "models/a.sql:3: no model or seed is named 'ordres'" in said
    assert "did you mean orders?" in said and "3 | from {{ ref('ordres') }}" in said
    assert "models/b.sql:4" in said and "4 |   from from x" in said
    assert "models/c.sql:1: no variable is named 'nothing'" in said
    assert "models/d.sql:1" in said
    assert "macros/m.sql:2" in said and "called from models/e.sql:1" in said
    assert "models/f.sql:1: 'unknown_macro' is undefined" in said
    assert "models/schema.yml:4: no test is named 'uniqe'" in said and "did you mean unique?" in said


def test_a_circle_is_printed(lake: Lake, tmp_path: Path) -> None:
    root = write(
        tmp_path / "p",
        {
            "dbt_project.yml": "name: p",
            "models/a.sql": "select * from {{ ref('c') }}",
            "models/b.sql": "select * from {{ ref('a') }}",
            "models/c.sql": "select * from {{ ref('b') }}",
        },
    )
    with pytest.raises(CuveeError, match="in a circle: a → b → c → a"):
        build(lake, root)


def test_an_error_of_duckdb_names_the_line_of_the_source(lake: Lake, tmp_path: Path) -> None:
    root = write(
        tmp_path / "p",
        {
            "dbt_project.yml": "name: p",
            "macros/m.sql": "{% macro three_lines() %}\n1 as a,\n2 as b,\n3 as c\n{% endmacro %}",
            "models/m.sql": "{{ config(materialized='table') }}\nselect\n  {{ three_lines() }},\n  nowhere\nfrom x\n",
            "models/x.sql": "select 1 as one",
            "models/n.sql": "select * from {{ ref('m') }}",
        },
    )
    results = build(lake, root)
    assert "models/m.sql:4" in results["m"].message and "4 |   nowhere" in results["m"].message
    assert results["n"].status == "skipped" and results["n"].message == "m failed"


def test_a_faulty_node_fails_alone(lake: Lake, tmp_path: Path) -> None:
    root = write(
        tmp_path / "p",
        {
            "dbt_project.yml": "name: p",
            "models/a.sql": "select 1 as x",
            "models/macro.sql": "select {{ mixtrue() }} as x from {{ ref('a') }}",
            "models/query.sql": "select from from {{ ref('a') }}",
            "models/inside.sql": "{{ config(materialized='ephemeral') }}select {{ nowhere.deep }}",
            "models/below.sql": "select * from {{ ref('macro') }}",
            "models/around.sql": "select * from {{ ref('inside') }}",
            "models/z.sql": "select x + 1 as x from {{ ref('a') }}",
            "models/schema.yml": "models:\n  - name: z\n    columns:\n      - {name: x, tests: [unique]}\n",
        },
    )
    results = build(lake, root)
    failed = {name for name, each in results.items() if each.failed}
    assert failed == {"macro", "query", "around"}
    assert "models/macro.sql:1: 'mixtrue' is undefined" in results["macro"].message
    assert "models/query.sql:1" in results["query"].message
    assert "models/inside.sql:1: 'nowhere' is undefined" in results["around"].message
    assert results["below"].status == "skipped" and results["z"].status == "built"
    assert results["unique_z_x"].status == "pass"
    assert lake.reader().execute("select x from z").fetchall() == [(2,)]
    opened = open_project(lake, root)
    for name in ("macro", "query", "around"):
        with pytest.raises(CuveeError, match=r"undefined|syntax"):
            opened.compile_with_database(opened.graph.steps[f"model.p.{name}"])


def test_a_query_that_is_nested_too_deeply_to_parse_is_built(lake: Lake, tmp_path: Path) -> None:
    whens = "".join(f"case when x = {n} then {n} else " for n in range(300))
    sql = f"select {whens} -1 {'end ' * 300} as y from {{{{ ref('a') }}}}"
    root = write(
        tmp_path / "p",
        {"dbt_project.yml": "name: p", "models/a.sql": "select 7 as x", "models/deep.sql": sql},
    )
    said: list[str] = []
    assert not [each for each in build(lake, root).values() if each.failed]
    assert lake.reader().execute("select y from deep").fetchall() == [(7,)]
    open_project(lake, root, say=said.append)
    assert said == [
        "warning: models/deep.sql: only DuckDB can parse this query: what it names without ref() is not known"
    ]
