"""Tests of a project, run by dbt with dbt-duckdb and by Cuvée: the same ones pass and fail, with the same counts."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import duckdb

from tests.conformance.peer import QUIET, judged_by_both, relations, run_dbt, write
from warehouse.artifacts import manifest
from warehouse.artifacts.invocation import invocation
from warehouse.build import build as building
from warehouse.build.build_options import BuildOptions
from warehouse.build.node_selection import selected_nodes
from warehouse.graph.loaded_project import open_project
from warehouse.lake.lake import Lake
from warehouse.project.options import Selection

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
    building.build(
        lake,
        project,
        Selection(
            kinds=(
                "model",
                "seed",
            )
        ),
    )
    results = judged_by_both(dbt, project, lake)
    assert sorted(status for key, (status, _) in results.items() if key.startswith("unit_test.")) == [
        "error", "error", "fail", "fail", "pass", "pass", "pass", "pass", "skipped",
    ]  # fmt: skip


#: Every setting of a test, in every place where dbt 1.11 takes it.
TESTED = """
models:
  - name: numbers
    data_tests:
      - large: {config: {store_failures: true}}
      - large: {name: at_most, arguments: {most: 2}, config: {store_failures: true, limit: 2}}
      - large: {name: in_a_view, arguments: {most: 2}, config: {store_failures_as: view, severity: warn}}
      - large: {name: named_otherwise, arguments: {most: 3}, config: {store_failures: true, alias: the_large_ones}}
      - large: {name: elsewhere, arguments: {most: 3}, config: {store_failures: true, schema: broken}}
      - large: {name: nowhere, arguments: {most: 3}, config: {store_failures: true, store_failures_as: ephemeral}}
      - large: {name: not_kept, arguments: {most: 3}, config: {store_failures: false}}
      - large: {name: passes, arguments: {most: 9}, config: {store_failures: true}}
      - large: {name: summed, arguments: {most: 2}, config: {fail_calc: sum(n), warn_if: ">6", error_if: ">7"}}
      - large: {name: between, arguments: {most: 2}, config: {error_if: "between 5 and 9", warn_if: "= 2"}}
      - large: {name: narrowed, arguments: {most: 2}, config: {where: "n = 4", store_failures: true}}
      - large: {name: wrong_kind, arguments: {most: 2}, config: {store_failures_as: tabel}}
      - mild: {name: mild_by_its_macro}
      - mild: {name: severe_by_its_yaml, config: {severity: error}}
    columns:
      - name: n
        data_tests:
          - unique: {config: {store_failures: true}}
          - not_null: {config: {store_failures: true}}
          - accepted_values:
              arguments: {values: [1, 2, 3, 400000000001, 400000000002], quote: false}
              config: {store_failures: true}
          - relationships: {arguments: {to: ref('few'), field: n}, config: {store_failures: true}}
          - name: named_beside
            test_name: not_null
            config: {where: "n > 100"}
"""


def test_settings_of_tests_and_what_they_keep(dbt: Path, lake: Lake, tmp_path: Path) -> None:
    project = write(
        tmp_path / "kept",
        {
            "dbt_project.yml": "name: kept\nversion: '1.0'\nprofile: kept\n"
            "flags: {require_generic_test_arguments_property: true}\n",
            "models/numbers.sql": "{{ config(materialized='table') }}\n"
            "select * from (values (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (4, 'e'), (null, 'f')) as t(n, x)",
            "models/few.sql": "select 1 as n union all select 2",
            "models/schema.yml": TESTED,
            "macros/tests.sql": "{% test large(model, most=3) %}select n, x from {{ model }} where n > {{ most }}"
            " order by n, x{% endtest %}\n"
            "{% test mild(model) %}{{ config(severity='warn') }} select * from {{ model }} where n = 1{% endtest %}",
            "tests/single.sql": "{{ config(store_failures=true, severity='warn') }}\n"
            "select n, count(*) as many from {{ ref('numbers') }} group by n having count(*) > 1",
            "tests/plain.sql": "select x from {{ ref('numbers') }} where n is null",
        },
    )

    def same_tables() -> list[str]:
        with duckdb.connect(str(project / "dbt.duckdb"), read_only=True) as connection:
            theirs = relations(connection, "dbt")
        assert relations(lake.cursor(), "lake") == theirs
        return sorted(theirs)

    results = judged_by_both(dbt, project, lake)
    assert {status for status, _ in results.values()} == {"success", "pass", "warn", "fail", "error"}
    audited = [name for name in same_tables() if "audit" in name]
    assert "main_dbt_test__audit.the_large_ones" in audited and "main_dbt_test__audit.plain" not in audited
    assert any(re.fullmatch(r"main_dbt_test__audit\.accepted_values_numbers_[0-9a-f]{32}", name) for name in audited)

    judged_by_both(dbt, project, lake, "--store-failures", store_failures=True)
    kept = same_tables()
    assert "main_dbt_test__audit.plain" in kept and "main_dbt_test__audit.not_kept" not in kept


SELECTIONS = [
    "numbers,test_type:generic",
    "test_type:unit numbers+",
    "+exposure:* unit_test:few_of_*",
    "exposure:chosen.board few+1 tag:t,tag:u",
    "access:public group:ours,resource_type:model",
]


def test_selections_choose_the_same(dbt: Path, lake: Lake, tmp_path: Path) -> None:
    selectors = """
selectors:
  - name: mixed
    definition:
      union:
        - {method: fqn, value: few, children: true}
        - intersection: [{tag: t}, "test_type:data"]
        - exclude: ["exposure:*", {method: test_name, value: relationships}]
  - name: inner
    default: true
    definition: {union: [{method: selector, value: mixed}, {exclude: [{method: resource_type, value: unit_test}]}]}
"""
    project = write(
        tmp_path / "chosen",
        {
            "dbt_project.yml": "name: chosen\nversion: '1.0'\nprofile: chosen\n",
            "models/numbers.sql": "select 1 as n",
            "models/few.sql": "select n from {{ ref('numbers') }}",
            "models/most.sql": "select n from {{ ref('few') }}",
            "seeds/known.csv": "n\n1\n",
            "models/of_seed.sql": "select n from {{ ref('known') }}",
            "models/about.md": "{% docs seen %}\nWhat *they* see.\n{% enddocs %}\n",
            "models/schema.yml": """
groups: [{name: ours, owner: {name: us}}]
models:
  - {name: numbers, config: {tags: [t], group: ours, access: public}, columns: [{name: n, data_tests: [unique]}]}
  - name: few
    config: {tags: [u], group: ours}
    columns: [{name: n, data_tests: [not_null, relationships: {arguments: {to: ref('numbers'), field: n}}]}]
unit_tests:
  - {name: few_of_one, model: few, given: [{input: ref('numbers'), rows: []}], expect: {rows: []}}
  - name: few_of_many
    description: By name.
    model: few
    overrides: {vars: {x: 1}, macros: {y: z}}
    given: [{input: ref('numbers'), rows: [{n: 2020-01-01}, {n: null}]}]
    expect: {format: csv, rows: "n\n1"}
    config: {tags: [quick], meta: {b: 2}}
exposures:
  - name: board
    type: dashboard
    owner: {name: us}
    description: "{{ doc('seen') }}"
    depends_on: [ref('most'), ref('few')]
    config: {tags: [shown], meta: {a: 1}}
""",
        },
    )

    def theirs(*arguments: str) -> list[str]:
        command = [dbt, "--quiet", "ls", "--output", "json", "--output-keys", "unique_id", *arguments]
        done = subprocess.run(
            [*command, "--profiles-dir", "."], cwd=project, env=os.environ | QUIET, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout
        return sorted(json.loads(line)["unique_id"] for line in done.stdout.splitlines() if line.startswith("{"))

    run_dbt(dbt, project, "parse", "--target-path", str(tmp_path / "theirs"))
    opened = open_project(lake, project, BuildOptions(state=tmp_path / "theirs"))
    assert not selected_nodes(opened, Selection(("state:modified",)))
    ours = manifest.manifest(opened, invocation("ls", project))
    their_manifest = json.loads((tmp_path / "theirs/manifest.json").read_text())
    for section in ("unit_tests", "exposures", "docs"):
        for key, entry in their_manifest[section].items():
            if not key.startswith("doc.dbt."):
                here = json.loads(json.dumps(ours[section][key], default=str))
                assert here | {"created_at": 0, "checksum": ""} == entry | {"created_at": 0, "checksum": ""}, key
    for selection in SELECTIONS:
        opened = open_project(lake, project)
        assert sorted(selected_nodes(opened, Selection(tuple(selection.split())))) == theirs(
            "--select", *selection.split()
        ), selection
    write(project, {"selectors.yml": selectors})
    for name in ("mixed", None):
        opened = open_project(lake, project, BuildOptions(selector=name))
        assert sorted(selected_nodes(opened, Selection())) == theirs(*(["--selector", name] if name else [])), name
