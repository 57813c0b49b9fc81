-- Who labelled how many documents: one row per labeler and version of it.
-- depends_on: {{ ref('document_labels') }}
{% set store = source('labels', 'eai') %}
{% if adapter.get_relation(store.database, store.schema, store.identifier) is none %}
select
    cast(null as varchar) as labeler,
    cast(null as varchar) as fingerprint,
    cast(null as bigint) as documents,
    cast(null as bigint) as partial,
    cast(null as bigint) as errors,
    cast(null as timestamptz) as first_labelled_at,
    cast(null as timestamptz) as last_labelled_at,
    cast(null as boolean) as is_current
where false
{% else %}
select
    labeler,
    fingerprint,
    count(*) filter (where status <> 'error') as documents,
    count(*) filter (where status = 'partial') as partial,
    count(*) filter (where status = 'error') as errors,
    min(labelled_at) as first_labelled_at,
    max(labelled_at) as last_labelled_at,
    row_number() over (partition by labeler order by max(labelled_at) desc, fingerprint) = 1 as is_current
from {{ store }}
group by labeler, fingerprint
{% endif %}
