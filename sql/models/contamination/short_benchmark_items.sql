-- The items that no document can be seen to quote: too few words to tell a quote from chance, or numbers alone.
{{ config(materialized='view') }}
select benchmark, doc_id, {{ cuvee.normalized_words('text') }} as words, text
from {{ ref('benchmark_items') }} as items
anti join {{ ref('benchmark_ngrams') }} as known on known.benchmark = items.benchmark and known.doc_id = items.doc_id
