-- The documents that count: labels, tokens, distributions and mixtures are of these. All that were found outside of the
-- benchmarks, and, if the var documents_where is set, of these the ones with an occurrence for which it is true: a
-- condition on raw.documents (as d) and raw.occurrences (as o). The model `coverage` counts what is left out.
select d.doc_id, d.n_chars
from {{ source('raw', 'documents') }} as d
where d.doc_id in (
    select o.doc_id
    from {{ source('raw', 'occurrences') }} as o
    {%- if var('documents_where') %}
    join {{ source('raw', 'documents') }} as d on d.doc_id = o.doc_id
    {%- endif %}
    where not {{ cuvee.is_benchmark('o.source') }}
    {%- if var('documents_where') %}
        and ({{ var('documents_where') }})
    {%- endif %}
)
