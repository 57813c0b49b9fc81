-- How often every label was found in every month of publication (UTC), or, where that is not known, of the crawl that
-- WARC-Date names; NULL: neither is known. A document that was found twice counts twice.
{% set labelled %}
(
    select
        l.*,
        cast(date_trunc('month', coalesce(
            o.published_at, try_cast(o.metadata ->> '$.warc_metadata."WARC-Date"' as timestamptz)
        ) at time zone 'UTC') as date) as month,
        t.n_tokens
    from {{ ref('corpus_labels') }} as l
    join {{ source('raw', 'occurrences') }} as o on o.doc_id = l.doc_id
    left join {{ ref('document_tokens') }} as t on t.doc_id = l.doc_id
)
{% endset %}
select *, (select coalesce(bool_or(estimated), false) from {{ ref('document_tokens') }}) as estimated
from (
    {{ cuvee.label_distribution(labelled, by=['labeler', 'month'], counted='occurrences') }}
) as counted
