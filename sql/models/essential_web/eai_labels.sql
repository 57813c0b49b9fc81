-- One verdict per document from all that labelers said in the taxonomy eai: Essential-Web's published one, else the
-- latest. The store of labels is there as soon as something was labelled or ingested with labels.
-- depends_on: {{ ref('document_labels') }}
{{ config(materialized='view') }}
{% if load_relation(source('labels', 'eai')) %}
select
    doc_id,
    labeler,
    {% for category in eai_categories() -%}
    {{ category }}{{ ',' if not loop.last }}
    {% endfor %}
from {{ source('labels', 'eai') }}
where status in ('ok', 'partial')
qualify row_number() over (
    partition by doc_id order by labeler = 'essential_web' desc, labelled_at desc, fingerprint
) = 1
{% else %}
select
    cast(null as varchar) as doc_id,
    cast(null as varchar) as labeler,
    {% for category in eai_categories() -%}
    cast(null as struct("primary" varchar, secondary varchar)) as {{ category }}{{ ',' if not loop.last }}
    {% endfor %}
where false
{% endif %}
