-- Near duplicates, pair by pair, with the estimated similarity of their sequences of words (var minhash_similarity). The
-- second one ranks first: it is longer, or as long and has the smaller id.
{{ config(materialized='view') }}
select doc_id, near_doc_id, similarity
from {{ ref('compared_pairs') }}
where similarity >= {{ var('minhash_similarity') }}
