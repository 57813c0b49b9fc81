-- How every labeler's labels have changed since a snapshot of the lake: cuvee build --vars '{drift_since: 12}'.
{{ config(enabled=var('drift_since') is not none) }}
{% set at %}(version => {{ var('drift_since') }}){% endset %}
{% set labelled %}
(
    select *, cast(null as bigint) as n_tokens
    from {{ source('labels', 'eai') }} at {{ at }}
    where status <> 'error'
    qualify row_number() over (partition by labeler, doc_id order by labelled_at desc, fingerprint) = 1
)
{% endset %}
with before as (
    {{ cuvee.label_distribution(labelled) }}
)
select *
from (
    {{ cuvee.label_drift('before', ref('label_distribution'), by=['labeler']) }}
) as drift
