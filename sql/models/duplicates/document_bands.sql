-- The bands of each document's MinHash signature: documents that agree in one are compared. Signatures themselves are in
-- the store of minhash_signature alone, under the text's id.
{{ config(materialized='incremental', incremental_strategy='append', tags=['cuvee_function']) }}
{%- set bands, rows = var('minhash_bands'), var('minhash_rows') %}
with signed as (
    select d.doc_id, d.n_chars, minhash_signature(d.text, {{ bands * rows }}, {{ var('minhash_words') }}) as signature
    from {{ source('raw', 'documents') }} as d
    {%- if is_incremental() %}
    where d.doc_id not in (select doc_id from {{ this }})
    {%- endif %}
)

select doc_id, n_chars, {{ cuvee.minhash_bands('signature', bands, rows) }} as bands, {{ cuvee.built_by() }} as built_by
from signed
