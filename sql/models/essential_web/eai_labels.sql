-- One verdict per document from all that labelers said in the taxonomy eai: Essential-Web's published one, else the
-- latest.
{{ config(materialized='view') }}
select
    doc_id,
    labeler,
    {% for category in cuvee.eai_categories() -%}
    {{ category }}{{ ',' if not loop.last }}
    {% endfor %}
from {{ ref('corpus_labels') }}
where status in ('ok', 'partial')
qualify row_number() over (
    partition by doc_id order by labeler = 'essential_web' desc, labelled_at desc, labeler
) = 1
