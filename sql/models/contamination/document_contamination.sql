-- Which benchmarks each document quotes, by the Bloom filter: it misses nothing, and may take a foreign n-gram for one
-- of a benchmark once in 1,000,000,000.
with compared as (
    select d.doc_id, contamination(d.text) as found
    from {{ source('raw', 'documents') }} as d
    where d.doc_id in (select doc_id from {{ ref('package_documents') }})
)

select doc_id, found.benchmark, found.n_grams, found.position, found.benchmarks, found.passages
from compared
