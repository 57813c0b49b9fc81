"""Templates that ask the database: what they find decides their SQL, so it is asked when the node is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from warehouse.build.build import build
from warehouse.lake.lake import Lake
from warehouse.project.results import NodeResult

PACKAGE = """
{% macro _columns(relation) %}{% if not execute %}{{ return([]) }}{% endif %}
{{ return(adapter.get_columns_in_relation(relation) | map(attribute='quoted') | list) }}{% endmacro %}
{% macro star(relation) %}{{ dbt_helpers._columns(relation) | join(', ') }} {{ nobody_sets_this }}{% endmacro %}
{% macro values(relation, column) %}
{%- if execute -%}
{{ return(run_query('select distinct ' ~ column ~ ' from ' ~ relation ~ ' order by 1').columns[0].values()) }}
{%- endif -%}
{{ return([]) }}
{% endmacro %}
{% test same_rows(model, other) %}
{% if not execute %}{{ return('') }}{% endif %}
select {{ dbt_helpers.star(model) }} from {{ model }} {{ dbt.except() }} select * from {{ other }}
{% endtest %}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "sql"
    files = {
        "dbt_project.yml": "name: p\n",
        "dbt_packages/helpers/dbt_project.yml": "name: dbt_helpers\n",
        "dbt_packages/helpers/macros/all.sql": PACKAGE,
        "seeds/raw.csv": "id,kind\n1,a\n2,b\n",
        "models/inner.sql": "{{ config(materialized='ephemeral') }}"
        "select {{ dbt_helpers.star(ref('raw')) }} from {{ ref('raw') }}",
        "models/outer.sql": "{{ config(materialized='table') }}select * from {{ ref('inner') }}",
        "models/wide.sql": "select 1 as one{% for kind in dbt_helpers.values(ref('raw'), 'kind') %}"
        ", count(*) filter (kind = '{{ kind }}') as {{ kind }}{% endfor %} from {{ ref('raw') }}",
        "models/schema.yml": "models: [{name: outer, data_tests: "
        "[{dbt_helpers.same_rows: {arguments: {other: ref('raw')}}}]}]",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def statuses(results: list[NodeResult]) -> dict[str, str]:
    return {result.name: result.status for result in results}


def test_what_the_database_says_is_in_views_tests_and_ephemeral_models(lake: Lake, project: Path) -> None:
    assert set(statuses(build(lake, project)).values()) == {"built", "pass"}
    assert lake.cursor().sql("select * from main.outer order by id").fetchall() == [(1, "a"), (2, "b")]
    assert lake.cursor().sql("from main.wide").columns == ["one", "a", "b"]


def test_a_view_that_asked_follows_the_rows_it_asked_for(lake: Lake, project: Path) -> None:
    build(lake, project)
    assert statuses(build(lake, project))["wide"] == "unchanged"
    (project / "seeds/raw.csv").write_text("id,kind\n1,a\n2,c\n")
    assert statuses(build(lake, project))["wide"] == "built"
    assert lake.cursor().sql("from main.wide").columns == ["one", "a", "c"]


def test_a_test_that_asked_can_fail(lake: Lake, project: Path) -> None:
    (project / "models/outer.sql").write_text("select id, kind || '!' as kind from {{ ref('raw') }}")
    failed = [result for result in build(lake, project) if result.failed]
    assert [(result.kind, result.status, result.rows) for result in failed] == [("test", "fail", 2)]


def test_a_mistake_in_what_was_asked_is_the_models_error(lake: Lake, project: Path) -> None:
    (project / "models/wide.sql").write_text("{% set rows = run_query('select nothing_of_that_name') %}select 1 as a")
    (result,) = [result for result in build(lake, project) if result.failed]
    assert (result.name, result.status) == ("wide", "error")
    assert "models/wide.sql:1" in result.message
    assert "nothing_of_that_name" in result.message


def test_hooks_see_their_node_and_the_end_sees_the_results(lake: Lake, project: Path) -> None:
    (project / "dbt_project.yml").write_text(
        "name: p\non-run-start: ['create table if not exists main.said (what varchar)']\n"
        "on-run-end: |\n"
        '  insert into main.said values (\'{% for r in results if r.node.resource_type == "seed" %}'
        "{{ r.node.name }} {{ r.status }}{% endfor %} {{ schemas | join }}')\n"
    )
    (project / "models/outer.sql").write_text(
        "{{ config(materialized='table', pre_hook=before_begin(\"insert into main.said values"
        " ('{{ model.name }} {{ this.identifier }} {{ config.get('materialized') }}')\")) }}"
        "select id, kind from {{ ref('raw') }}"
    )
    build(lake, project)
    assert lake.cursor().sql("from main.said").fetchall() == [("outer outer table",), ("raw success main",)]


def test_a_project_decides_what_where_means_in_tests(lake: Lake, project: Path) -> None:
    (project / "macros").mkdir()
    (project / "macros/where.sql").write_text(
        "{% macro get_where_subquery(relation) %}{% if config.get('where') %}"
        "{{ return('(select * from ' ~ relation ~ ' where ' ~ config.get('where').replace('@one', '1') ~ ') as x') }}"
        "{% endif %}{{ return(relation) }}{% endmacro %}"
    )
    (project / "models/schema.yml").write_text(
        "models: [{name: outer, columns: [{name: kind, data_tests: "
        "[{accepted_values: {arguments: {values: [a]}, config: {where: 'id = @one'}}}]}]}]"
    )
    assert set(statuses(build(lake, project)).values()) == {"built", "pass"}
