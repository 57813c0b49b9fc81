"""What public projects use here and there, built by dbt with dbt-duckdb and by Cuvée: the same relations."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.peer import built_by_both, write
from warehouse.lake.lake import Lake

FILES = {
    "dbt_project.yml": """
name: wild
version: '1.0'
config-version: 2
profile: wild
seeds: {wild: {+column_types: {code: varchar}}}
models: {wild: {marts: {+materialized: table, +group: finance}}}
metrics: {wild: {+enabled: true}}
""",
    "seeds/orders.csv": "id,code,amount\n1,007,5\n2,010,7\n",
    "seeds/customers.csv": "id,name\n1,Ada\n",
    "models/sources.yml": """
sources:
  - name: raw
    schema: "{{ target.schema }}"
    loader: files
    meta: {a: 1}
    tables:
      - {name: customers, columns: [{name: id, data_tests: [unique, not_null]}]}
""",
    "models/customers_of_raw.sql": "select * from {{ source('raw', 'customers') }}",
    "models/disabled.sql": "{{ config(enabled=false) }} select * from {{ ref('what_there_is_not') }}",
    "models/by_var.sql": "{{ config(enabled=var('more', false)) }} select {{ nothing_of_the_kind() }}",
    "models/marts/headed.sql": """{{ config(materialized='table') }}
{% call set_sql_header(config) %} create or replace temporary macro one_more(x) as x + 1; {% endcall %}
select one_more(amount) as more from {{ ref('orders') }}
""",
    "models/marts/priced_v1.sql": "select id, amount from {{ ref('orders') }}",
    "models/marts/priced_v2.sql": "select id, amount * 2 as doubled, code from {{ ref('orders') }}",
    "models/marts/prices_of_all.sql": "select p.id, p.doubled, v1.amount, v2.code"
    " from {{ ref('priced') }} as p join {{ ref('priced', v=1) }} as v1 using (id)"
    " join {{ ref('wild', 'priced', version=2) }} as v2 using (id)",
    "models/marts/wide.sql": """-- depends_on: {{ ref('prices_of_all') }}
{% set found = [] %}
{% for node in graph.nodes.values() if node.resource_type in ('model', 'snapshot') %}
  {% do found.append(node.unique_id ~ ' ' ~ node.get('version')) %}
{% endfor %}
{% for each in found | sort %}select '{{ each }}' as node{{ ' union all ' if not loop.last }}{% endfor %}
union all select '{{ graph.exposures | length }} {{ graph.groups.values() | map(attribute="name") | join }}'
union all select '{{ invocation_id | length }} {{ ref("priced", v=1).identifier }} {{ model.get('version') }}'
""",
    "models/marts/schema.yml": """
groups: [{name: finance, owner: {name: F, email: f@example.org}}]
models:
  - name: priced
    latest_version: 2
    config: {tags: [money]}
    columns:
      - {name: id, data_tests: [unique]}
      - {name: amount, data_tests: [not_null]}
    versions:
      - v: 1
        config: {materialized: view, alias: old_prices}
      - v: 2
        columns: [{include: all, exclude: [amount]}, {name: code, data_tests: [not_null]}]
exposures:
  - {name: board, type: dashboard, owner: {name: A}, depends_on: ["ref('priced', v=1)", "ref('priced')"]}
""",
    "snapshots/kept.sql": """{% snapshot kept %}
{{ config(unique_key='id', strategy='timestamp', updated_at='seen', target_schema='main_kept') }}
select *, '2024-01-01'::timestamp as seen from {{ ref('orders') }}
{% endsnapshot %}
""",
}


def test_projects_as_they_are_found(dbt: Path, lake: Lake, tmp_path: Path) -> None:
    project = write(tmp_path / "wild", FILES)
    names = built_by_both(dbt, project, "wild", lake)
    assert {"main.old_prices", "main.priced_v2", "main.prices_of_all", "main.headed"} <= set(names)
