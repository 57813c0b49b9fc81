-- What a mixture may draw from. Documents that quote a benchmark are left out, unless `decontamination` says otherwise:
-- exact (those that do quote one), bloom (those of which the filter says so, without a second look), off (none).
{{ config(materialized='view') }}
{% set decontamination = var('decontamination') %}
{% if decontamination not in ('exact', 'bloom', 'off') %}
    {{ exceptions.raise_compiler_error("decontamination is exact, bloom or off, not " ~ decontamination) }}
{% endif %}
select doc_id, component, n_tokens
from {{ ref('components') }}
where split = 'train' and n_tokens > 0
{% if decontamination == 'exact' %}
    and doc_id not in (select doc_id from {{ ref('contaminated_documents') }})
{% elif decontamination == 'bloom' %}
    and doc_id not in (select doc_id from {{ ref('document_contamination') }} where benchmark is not null)
{% endif %}
