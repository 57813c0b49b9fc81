-- What fastText models say of each document: those that the var quality_models names.
{{ config(materialized='incremental', incremental_strategy='append', tags=['cuvee_function']) }}
{%- set models = var('quality_models') %}
select
    d.doc_id,
    {%- for score in ('english', 'maths', 'code') %}
    {% if score in models -%}
    fasttext_score(d.text, '{{ models[score][0] }}', '{{ models[score][1] }}')
    {%- else -%}
    cast(null as double)
    {%- endif %} as {{ score }}{{ ',' if not loop.last }}
    {%- endfor %}
from {{ source('raw', 'documents') }} as d
{%- if is_incremental() %}
where d.doc_id not in (select doc_id from {{ this }})
{%- endif %}
