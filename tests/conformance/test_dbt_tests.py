"""Tests of a project, run by dbt with dbt-duckdb and by Cuvée: the same ones pass and fail, with the same counts."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.conformance.test_dbt import QUIET, dbt, profile
from warehouse import build as building
from warehouse.lake import Lake
from warehouse.outcome import Options

__all__ = ["dbt"]  # a fixture


def run_dbt(dbt: Path, project: Path, *arguments: str, code: int = 0) -> None:
    done = subprocess.run(
        [dbt, *arguments, "--profiles-dir", "."],
        cwd=project,
        env=os.environ | QUIET,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, done.stdout[-4000:]


def judged_by_both(dbt: Path, project: Path, lake: Lake, *flags: str, **options: Any) -> dict[str, tuple[str, int]]:
    """Build with both, some tests failing; compares and returns what became of each node: id → status, failures."""
    run_dbt(dbt, project, "build", *flags, code=1)
    results = project / "target" / "run_results.json"
    theirs = said(json.loads(results.read_text()))
    building.build(lake, project, options=Options(**options))
    assert said(json.loads(results.read_text())) == theirs
    return theirs


def said(run_results: dict[str, Any]) -> dict[str, tuple[str, int]]:
    return {each["unique_id"]: (each["status"], each["failures"] or 0) for each in run_results["results"]}


def write(project: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    profile(project, project.name)
    return project


UNIT_TESTS = """
sources: [{name: main, tables: [{name: people}]}]
unit_tests:
  - name: all_that_is_given
    model: joined
    overrides: {vars: {low: 1}, macros: {twice: 7}, env_vars: {CUVEE_NOWHERE: away}}
    given:
      - input: ref('stg')
        rows: [{id: 1, name: a, born: 2020-01-01}, {id: 2, name: null}, {ID: 2}]
      - input: ref('more')
        rows: [{id: 1, name: x}]
    expect:
      rows:
        - {id: 2, name: null, other: null, two: 7, place: away, pair: null, ids: [2]}
        - {id: 1, name: a, other: x, two: 7, place: away, pair: {a: a}, ids: [1]}
        - {id: 2, name: null, other: null, two: 7, place: away, pair: null, ids: [2]}
  - name: rows_count
    model: counted
    given: [{input: ref('stg'), rows: [{id: 1}, {id: 1}]}]
    expect: {rows: [{id: 1}]}
  - name: seed_as_it_is
    model: stg
    given: [{input: ref('people')}]
    expect: {format: csv, rows: "name,id\\nADA,1\\nBO,2\\n"}
  - name: added
    model: grown
    overrides: {macros: {is_incremental: true}}
    given:
      - {input: ref('stg'), format: sql, rows: "select 1 as id, 'x' as name union all select 5, 'y'"}
      - {input: this, rows: [{id: 3}]}
    expect: {format: csv, fixture: wanted}
  - name: from_a_source
    model: sourced
    given: [{input: "source('main', 'people')", rows: []}]
    expect: {rows: []}
  - name: wrong_value
    model: wrong
    given: [{input: ref('stg'), rows: [{id: 1}]}]
    expect: {rows: [{id: 2}]}
  - name: no_such_column
    model: unread
    given: [{input: ref('stg'), rows: [{idd: 1}]}]
    expect: {rows: []}
  - name: not_given
    model: ungiven
    given: []
    expect: {rows: []}
  - name: never_runs
    model: below
    given: [{input: ref('wrong'), rows: []}]
    expect: {rows: []}
"""


def test_unit_tests_pass_and_fail_alike(dbt: Path, lake: Lake, tmp_path: Path) -> None:
    plain = ("counted", "wrong", "unread", "ungiven")
    project = write(
        tmp_path / "units",
        {
            "dbt_project.yml": "name: units\nversion: '1.0'\nprofile: units\nvars: {low: 3}\n",
            "seeds/people.csv": "id,name,born\n1,Ada,2020-01-02\n2,Bo,2021-02-03\n",
            "macros/twice.sql": "{% macro twice(x) %}{{ x }} * 2{% endmacro %}",
            "models/stg.sql": "select id, upper(name) as name, born from {{ ref('people') }}",
            "models/more.sql": "select id, name from {{ ref('stg') }} where id >= {{ var('low') }}",
            "models/joined.sql": "select s.id, s.name, e.name as other, {{ twice('s.id') }} as two, [s.id] as ids,\n"
            " '{{ env_var('CUVEE_NOWHERE', 'home') }}' as place, case when s.id = 1 then {'a': s.name} end as pair\n"
            "from {{ ref('stg') }} as s left join {{ ref('more') }} as e on s.id = e.id and e.id >= {{ var('low') }}",
            "models/grown.sql": "{{ config(materialized='incremental') }} select id, name from {{ ref('stg') }}\n"
            "{% if is_incremental() %} where id > (select max(id) from {{ this }}) {% endif %}",
            "models/sourced.sql": "select name from {{ source('main', 'people') }}",
            "models/below.sql": "select id from {{ ref('wrong') }}",
            "models/units.yml": UNIT_TESTS,
            "tests/fixtures/wanted.csv": "id,name\n5,y\n",
            **{f"models/{name}.sql": "select id from {{ ref('stg') }}" for name in plain},
        },
    )
    run_dbt(dbt, project, "seed")
    run_dbt(dbt, project, "run")  # dbt takes the types of columns from there
    building.build(lake, project, kinds=["model", "seed"])
    results = judged_by_both(dbt, project, lake)
    assert sorted(status for key, (status, _) in results.items() if key.startswith("unit_test.")) == [
        "error", "error", "fail", "fail", "pass", "pass", "pass", "pass", "skipped",
    ]  # fmt: skip
