-- What a mixture may draw from: the documents that are not held out, and are no near duplicates of those that are. A
-- document without a component is of `(none)`. Documents that quote a benchmark are left out, unless the var
-- decontamination says otherwise: exact (those that do quote one), bloom (those of which the filter says so, without a
-- second look), off (none).
{% set decontamination = var('decontamination') %}
{% if decontamination not in ('exact', 'bloom', 'off') %}
    {{ exceptions.raise_compiler_error("decontamination is exact, bloom or off, not " ~ decontamination) }}
{% endif %}
with kept_apart as (
    select distinct k.cluster_id
    from {{ ref('held_out') }} as h
    join {{ ref('duplicate_clusters') }} as k on k.doc_id = h.doc_id
)

select
    d.doc_id,
    coalesce(c.component, '(none)') as component,
    t.n_tokens
from {{ ref('documents') }} as d
join {{ ref('duplicate_clusters') }} as k on k.doc_id = d.doc_id
join {{ ref('document_tokens') }} as t on t.doc_id = d.doc_id
left join {{ ref('components') }} as c on c.doc_id = d.doc_id
{%- if decontamination != 'off' %}
-- What was not compared with the benchmarks is not here either.
join {{ ref('document_contamination') }} as found on found.doc_id = d.doc_id
{%- endif %}
where t.n_tokens > 0
    and k.cluster_id not in (select cluster_id from kept_apart)
{%- if decontamination == 'exact' %}
    and d.doc_id not in (select doc_id from {{ ref('contaminated_documents') }})
{%- elif decontamination == 'bloom' %}
    and found.benchmark is null
{%- endif %}
