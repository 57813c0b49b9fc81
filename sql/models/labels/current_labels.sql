-- What every labeler says of every document: its latest answer, whatever version of the labeler gave it. All questions
-- about labels start here. Answers made while a build reads may be committed after later ones: hence the hour.
{{ config(materialized='incremental', unique_key=['labeler', 'doc_id']) }}
{% set store = source('labels', 'eai') %}
{% set columns = cuvee.eai_categories() %}
-- depends_on: {{ ref('document_labels') }}
{% if adapter.get_relation(store.database, store.schema, store.identifier) is none %}
select
    cast(null as varchar) as doc_id,
    cast(null as varchar) as labeler,
    cast(null as varchar) as status,
    {% for category in columns -%}
    cast(null as struct("primary" varchar, secondary varchar)) as {{ category }},
    {% endfor -%}
    cast(null as timestamptz) as labelled_at
where false
{% else %}
with answers as (
    select doc_id, labeler, fingerprint, status, {{ columns | join(', ') }}, labelled_at
    from {{ store }}
    where status <> 'error'
        {%- if is_incremental() %}
        and labelled_at >= (
            select coalesce(max(labelled_at) - interval 1 hour, timestamptz '1970-01-01') from {{ this }}
        )
        {%- endif %}
),
-- Few documents are answered twice: only these are sorted.
repeated as (
    select labeler, doc_id from answers group by labeler, doc_id having count(*) > 1
)
select answers.* exclude (fingerprint)
from answers
anti join repeated on repeated.labeler = answers.labeler and repeated.doc_id = answers.doc_id
union all
select latest.* exclude (fingerprint)
from (
    select answers.*
    from answers
    semi join repeated on repeated.labeler = answers.labeler and repeated.doc_id = answers.doc_id
    qualify row_number() over (
        partition by answers.labeler, answers.doc_id order by answers.labelled_at desc, answers.fingerprint
    ) = 1
) as latest
{% endif %}
