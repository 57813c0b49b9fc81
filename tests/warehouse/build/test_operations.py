"""cuvee run-operation: a macro that asks and changes the lake."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.helpers import CUVEE, write
from tests.warehouse.helpers import build
from udfs.errors import UsageError
from warehouse.build import operations
from warehouse.graph.loaded_project import open_project
from warehouse.lake.lake import Lake
from warehouse.render.templates import TemplateError

MACROS = """
{% macro copy_of(table, rows=1, prefix='copy_of_') %}
  {% set name = target.schema ~ '.' ~ prefix ~ table %}
  {% do run_query('create or replace table ' ~ name ~ ' as select * from ' ~ ref(table) ~ ' limit ' ~ rows) %}
  {% call statement('insert') %}
    begin; insert into {{ name }} select * from {{ ref(table) }}; commit
  {% endcall %}
  {% set count = run_query('select count(*) as n from ' ~ name).columns[0].values()[0] %}
  {{ log(name ~ ' has ' ~ count ~ ' rows', info=true) }}
  {{ log('not for people') }}
  {% set made = adapter.get_relation(target.database, target.schema, prefix ~ table) %}
  {{ return({'rows': count, 'there': made is not none}) }}
{% endmacro %}

{% macro broken() %}
  {% do run_query('create table main.before_it as select 1 as n') %}
  {% do run_query('select x from main.before_it') %}
{% endmacro %}

{% macro outer() %}
  {{ broken() }}
{% endmacro %}

{% macro refuses() %}
  {{ exceptions.raise_compiler_error('not today') }}
{% endmacro %}
"""


def line(text: str) -> int:
    return MACROS[: MACROS.index(text)].count("\n") + 1


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(
        tmp_path / "p",
        {
            "dbt_project.yml": "name: p",
            "models/m.sql": "{{ config(materialized='table') }} select 1 as n union all select 2",
            "macros/operations.sql": MACROS,
            "dbt_packages/other/dbt_project.yml": "name: other",
            "dbt_packages/other/macros/o.sql": "{% macro theirs(x) %}{{ return(x * 2) }}{% endmacro %}",
        },
    )


def test_a_macro_asks_and_changes_the_lake_in_commits(lake: Lake, root: Path) -> None:
    build(lake, root)
    before = len(lake.snapshots())
    said: list[str] = []
    opened = open_project(lake, root, say=said.append)
    assert operations.run(opened, "copy_of", {"table": "m"}) == {"rows": 3, "there": True}
    assert said == ["main.copy_of_m has 3 rows"]
    assert [each.message for each in lake.snapshots()[before:]] == ["run-operation copy_of"] * 2
    assert operations.run(opened, "p.copy_of", {"table": "m", "rows": 0, "prefix": "x_"}) == {"rows": 2, "there": True}
    assert operations.run(opened, "other.theirs", {"x": 3}) == operations.run(opened, "theirs", {"x": 3}) == 6


def test_what_was_done_before_an_error_stays(lake: Lake, root: Path) -> None:
    opened = open_project(lake, root)
    with pytest.raises(TemplateError) as raised:
        operations.run(opened, "outer", {})
    message = str(raised.value)
    assert message.startswith(f"macros/operations.sql:{line('select x')}: a statement failed: Binder Error")
    assert lake.cursor().execute("select n from lake.main.before_it").fetchall() == [(1,)]
    with pytest.raises(TemplateError, match=f"macros/operations.sql:{line('not today')}: not today"):
        operations.run(opened, "refuses", {})


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("copy_off", {}, "did you mean copy_of?"),
        ("nowhere.copy_of", {}, "no macro is named 'nowhere.copy_of'"),
        ("copy_of", {"tabel": "m"}, "did you mean table?"),
    ],
)
def test_wrong_names(lake: Lake, root: Path, name: str, arguments: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        operations.run(open_project(lake, root), name, arguments)
    assert said in str(raised.value)


def test_the_command(tmp_path: Path, root: Path) -> None:
    def cuvee(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*CUVEE, *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    project = ("--project-dir", str(root))
    cuvee("init")
    cuvee("build", *project)
    done = cuvee("run-operation", "copy_of", "--args", "{table: m}", *project)
    assert (done.returncode, done.stdout) == (0, "main.copy_of_m has 3 rows\n")
    done = cuvee("run-operation", "copy_of", "--args", "{table: m, rows: 0}", "--json", *project)
    said = {"macro": "copy_of", "said": ["main.copy_of_m has 2 rows"], "value": {"rows": 2, "there": True}}
    assert json.loads(done.stdout) == said
    assert cuvee("run-operation", "copy_of", "--args", "[m]", *project).returncode == 2
    assert cuvee("run-operation", "copi_of", *project).returncode == 2
    assert cuvee("run-operation", "broken", *project).returncode == 1
