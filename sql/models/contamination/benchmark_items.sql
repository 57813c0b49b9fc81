-- The benchmarks that no training document may quote: what was ingested with --benchmark NAME.
{{ config(materialized='view') }}
select distinct
    case when o.source = 'benchmarks' then o.source else substr(o.source, 12) end as benchmark,
    d.doc_id,
    d.text
from {{ source('raw', 'occurrences') }} as o
join {{ source('raw', 'documents') }} as d on d.doc_id = o.doc_id
where {{ cuvee.is_benchmark('o.source') }}
