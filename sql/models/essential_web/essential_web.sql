-- Every labelled document in the nested schema of essential-web-v1.0, so that queries over the published Parquet files
-- run unchanged. doc_id is ours, and comes last.
{{ config(materialized='view') }}
select
    case
        when place.published then cast(place.source_id as bigint)
        else cast('0x' || left(documents.doc_id, 15) as bigint)
    end as id,
    documents.text,
    {
        'url': place.url,
        'source_domain': coalesce(
            place.metadata ->> 'source_domain', nullif(regexp_extract(place.url, '^\w+://([^/:?#]+)', 1), '')
        ),
        'snapshot_id': place.metadata ->> 'snapshot_id',
        'warc_info': place.metadata ->> 'warc_info',
        'warc_metadata': {
            'Content-Length': place.metadata ->> '$.warc_metadata."Content-Length"',
            'Content-Type': place.metadata ->> '$.warc_metadata."Content-Type"',
            'WARC-Block-Digest': place.metadata ->> '$.warc_metadata."WARC-Block-Digest"',
            'WARC-Concurrent-To': place.metadata ->> '$.warc_metadata."WARC-Concurrent-To"',
            'WARC-Date': place.metadata ->> '$.warc_metadata."WARC-Date"',
            'WARC-IP-Address': place.metadata ->> '$.warc_metadata."WARC-IP-Address"',
            'WARC-Identified-Payload-Type': place.metadata ->> '$.warc_metadata."WARC-Identified-Payload-Type"',
            'WARC-Payload-Digest': place.metadata ->> '$.warc_metadata."WARC-Payload-Digest"',
            'WARC-Record-ID': place.metadata ->> '$.warc_metadata."WARC-Record-ID"',
            'WARC-Target-URI': place.metadata ->> '$.warc_metadata."WARC-Target-URI"',
            'WARC-Truncated': place.metadata ->> '$.warc_metadata."WARC-Truncated"',
            'WARC-Type': place.metadata ->> '$.warc_metadata."WARC-Type"',
            'WARC-Warcinfo-ID': place.metadata ->> '$.warc_metadata."WARC-Warcinfo-ID"'
        }
    } as metadata,
    {
        'line_start_idx': cast(place.metadata -> '$.line_start_n_end_idx.line_start_idx' as integer[]),
        'line_end_idx': cast(place.metadata -> '$.line_start_n_end_idx.line_end_idx' as integer[])
    } as line_start_n_end_idx,
    signals.quality_signals,
    {
        {%- for category in cuvee.eai_categories() %}
        '{{ category }}': {
            'primary': {{ cuvee.eai_label(category, 'primary') }},
            'secondary': {{ cuvee.eai_label(category, 'secondary') }}
        }{{ ',' if not loop.last }}
        {%- endfor %}
    } as eai_taxonomy,
    place.metadata ->> 'pid' as pid,
    documents.doc_id
from {{ ref('eai_labels') }} as labels
join {{ source('raw', 'documents') }} as documents on documents.doc_id = labels.doc_id
left join {{ ref('document_occurrences') }} as place on place.doc_id = labels.doc_id
left join {{ ref('document_quality_signals') }} as signals on signals.doc_id = labels.doc_id
{{- cuvee.eai_label_names() }}
