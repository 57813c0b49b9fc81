-- What every labeler says of every document, by the labeler's latest version. All questions about labels start here.
{{ config(materialized='view') }}
{% set store = source('labels', 'eai') %}
{% set labelers = ref('labelers') %}
{% set categories = ['free_decimal_correspondence'] + plain_categories() %}
{% if adapter.get_relation(store.database, store.schema, store.identifier) is none %}
select
    cast(null as varchar) as doc_id,
    cast(null as varchar) as labeler,
    cast(null as varchar) as status,
    {% for category in categories -%}
    cast(null as struct("primary" varchar, secondary varchar)) as {{ category }},
    {% endfor -%}
    cast(null as timestamptz) as labelled_at
where false
{% else %}
select
    doc_id,
    labeler,
    status,
    {% for category in categories -%}
    {{ category }},
    {% endfor -%}
    labelled_at
from {{ store }}
where status <> 'error'
    and (labeler, fingerprint) in (select (labeler, fingerprint) from {{ labelers }} where is_current)
{% endif %}
