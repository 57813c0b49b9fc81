-- What fastText models say of each document: those that the var quality_models names.
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
