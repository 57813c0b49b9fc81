-- One place for each document: one of Essential-Web's published rows if there is one, else the first of the first source
-- that is not a benchmark.
{{ config(materialized='view') }}
select
    doc_id,
    source,
    source_id,
    url,
    lower(nullif(regexp_extract(url, '^\w+://([^/:?#]+)', 1), '')) as host,
    metadata,
    metadata ->> 'pid' is not null and try_cast(source_id as bigint) is not null as published
from {{ source('raw', 'occurrences') }}
qualify row_number() over (
    partition by doc_id
    order by published desc, {{ cuvee.is_benchmark('source') }}, source, file_id, position
) = 1
