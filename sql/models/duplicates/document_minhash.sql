-- The MinHash signature of each document. It is stored under the text's id, so it is computed once.
select
    d.doc_id,
    d.n_chars,
    minhash_signature(
        d.text, {{ var('minhash_bands') * var('minhash_rows') }}, {{ var('minhash_words') }}
    ) as signature
from {{ source('raw', 'documents') }} as d
