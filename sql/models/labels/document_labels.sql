-- One labelling of each document. Labels that came with the corpus count first, and nothing is bought for these
-- documents; then the labelers of the var labelers, each asked about what those before it could not label. A document
-- without any label has NULLs. Labels are stored under the text's id, so a document is labelled once, however often this
-- model is built.
{{ config(tags=['cuvee_function']) }}
-- depends_on: {{ source('labels', 'eai') }}
{% set labelers = var('labelers') or [] %}
{% if labelers is string %}
    {{ exceptions.raise_compiler_error("the var labelers is a list: [" ~ labelers ~ "]") }}
{% endif %}
with given as (
    select *
    from {{ cuvee.given_labels(labelers) }}
),

{% for labeler in labelers -%}
asked_{{ loop.index }} as (
    select d.doc_id, label_document(d.text, '{{ labeler | replace("'", "''") }}') as label
    from {{ source('raw', 'documents') }} as d
    where d.doc_id in (select doc_id from {{ ref('documents') }})
        and d.doc_id not in (select doc_id from given)
        {%- if not loop.first %}
        and d.doc_id in (select doc_id from asked_{{ loop.index - 1 }} where label is null)
        {%- endif %}
),

{% endfor -%}
labelled as (
    select doc_id, labeler, label from given
    {%- for labeler in labelers %}
    union all
    select doc_id, '{{ labeler | replace("'", "''") }}', label from asked_{{ loop.index }} where label is not null
    {%- endfor %}
)

select
    d.doc_id,
    d.n_chars,
    l.labeler,
    l.label.free_decimal_correspondence.primary as fdc,
    l.label.document_type_v1.primary as document_type_v1,
    l.label.document_type_v2.primary as document_type_v2,
    l.label
from {{ ref('documents') }} as d
left join labelled as l on l.doc_id = d.doc_id
