-- What each benchmark item is known by: its runs of 13 words, normalised. Short items may have none.
{{ config(tags=['cuvee_function']) }}
with items as (
    select benchmark, doc_id, item_ngrams(text) as ngrams
    from {{ ref('benchmark_items') }}
)

select benchmark, doc_id, unnest(ngrams) as ngram
from items
