-- How many documents and tokens every label has.
{% set labelled %}
(
    select l.*, t.n_tokens
    from {{ ref('corpus_labels') }} as l
    left join {{ ref('document_tokens') }} as t on t.doc_id = l.doc_id
)
{% endset %}
select *, (select coalesce(bool_or(estimated), false) from {{ ref('document_tokens') }}) as estimated
from (
    {{ cuvee.label_distribution(labelled) }}
) as counted
