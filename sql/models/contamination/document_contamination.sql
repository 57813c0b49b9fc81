-- Which benchmarks each document quotes, by the Bloom filter: it misses nothing, and may take a foreign n-gram for one
-- of a benchmark once in 1,000,000,000. Every document is compared but those that are nothing else than benchmark items.
{{ config(tags=['cuvee_function']) }}
with compared as (
    select d.doc_id, contamination(d.text) as found
    from {{ source('raw', 'documents') }} as d
    where d.doc_id in (
        select o.doc_id from {{ source('raw', 'occurrences') }} as o where not {{ cuvee.is_benchmark('o.source') }}
    )
)

select doc_id, found.benchmark, found.n_grams, found.position, found.benchmarks, found.passages
from compared
