-- The one question that only you can answer: which component is a document of? Mixtures say how much of each they take.
-- One row per document. Here it is the source that ingest named.
select doc_id, min(source) as component
from {{ source('raw', 'occurrences') }}
where doc_id in (select doc_id from {{ ref('documents') }})
    and not {{ cuvee.is_benchmark('source') }}
group by doc_id

{#
By subject (FDC's main classes), where documents are labelled:

    select doc_id, {{ cuvee.fdc_label('fdc', 1) }} as component
    from {{ ref('document_labels') }}

By kind of document:

    select doc_id, case
        when {{ cuvee.label_is('document_type_v2', 'Tutorial') }} then 'tutorial'
        when {{ cuvee.label_is('document_type_v2', 'News Article') }} then 'news'
        else 'other'
    end as component
    from {{ ref('document_labels') }}

By host:

    select doc_id, min(regexp_extract(url, '^\w+://([^/:?#]+)', 1)) as component
    from {{ source('raw', 'occurrences') }}
    where url is not null
    group by doc_id
#}
