-- The documents that do quote a benchmark, one row per benchmark: what the Bloom filter found, compared word by word.
with passages as (
    select doc_id, unnest(passages) as passage
    from {{ ref('document_contamination') }}
    where benchmark is not null
),

places as (
    select doc_id, passage, unnest(range(1, len(passage.words) - passage.n + 2)) as place
    from passages
),

quoted as (
    select
        doc_id,
        array_to_string(passage.words[place:place + passage.n - 1], ' ') as ngram,
        passage.positions[place] as position
    from places
),

known as (
    select distinct benchmark, ngram
    from {{ ref('benchmark_ngrams') }}
)

select
    q.doc_id,
    k.benchmark,
    count(distinct q.position) as n_grams,
    min(q.position) as position,
    min_by(q.ngram, q.position) as ngram
from quoted as q
join known as k on k.ngram = q.ngram
group by q.doc_id, k.benchmark
