-- How many documents and tokens every label has.
{% set labelled %}
(
    select l.*, t.n_tokens
    from {{ ref('current_labels') }} as l
    left join {{ ref('document_tokens') }} as t on t.doc_id = l.doc_id
)
{% endset %}
{{ label_distribution(labelled) }}
