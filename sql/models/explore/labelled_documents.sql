-- One row per document, in plain columns, for questions in one line: where it was found, its labels by name (its first
-- labelling), its tokens and its quality signals.
{{ config(materialized='view') }}
{% set categories = cuvee.plain_categories() %}
select
    d.doc_id,
    o.source,
    o.host,
    o.url,
    d.n_chars,
    t.n_tokens,
    l.labeler,
    {% for level in (1, 2, 3) -%}
    coalesce(fdc_{{ level }}.label, {{ cuvee.fdc_class('l.label.free_decimal_correspondence.primary', level) }}) as fdc_{{ level }},
    {% endfor -%}
    {% for category in categories -%}
    coalesce({{ category }}.label, l.label.{{ category }}.primary) as {{ category }},
    {% endfor -%}
    s.* exclude (doc_id),
    d.text
from {{ ref('documents') }} as counted
join {{ source('raw', 'documents') }} as d on d.doc_id = counted.doc_id
left join {{ ref('document_occurrences') }} as o on o.doc_id = counted.doc_id
left join {{ ref('document_tokens') }} as t on t.doc_id = counted.doc_id
left join {{ ref('document_labels') }} as l on l.doc_id = counted.doc_id
left join {{ ref('document_signals') }} as s on s.doc_id = counted.doc_id
{%- for level in (1, 2, 3) %}
left join {{ ref('fdc') }} as fdc_{{ level }}
    on fdc_{{ level }}.level = {{ level }}
    and fdc_{{ level }}.code = {{ cuvee.fdc_class('l.label.free_decimal_correspondence.primary', level) }}
{%- endfor %}
{%- for category in categories %}
left join {{ ref('taxonomy') }} as {{ category }}
    on {{ category }}.category = '{{ category }}' and {{ category }}.code = l.label.{{ category }}.primary
{%- endfor %}
