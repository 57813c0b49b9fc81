-- How often every label was found in every source. A document that was found twice counts twice.
{% set labelled %}
(
    select l.*, o.source, t.n_tokens
    from {{ ref('corpus_labels') }} as l
    join {{ source('raw', 'occurrences') }} as o on o.doc_id = l.doc_id
    left join {{ ref('document_tokens') }} as t on t.doc_id = l.doc_id
)
{% endset %}
select *, (select coalesce(bool_or(estimated), false) from {{ ref('document_tokens') }}) as estimated
from (
    {{ cuvee.label_distribution(labelled, by=['labeler', 'source'], counted='occurrences') }}
) as counted
