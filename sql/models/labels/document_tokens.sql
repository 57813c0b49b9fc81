-- How many tokens each document has: counted by the tokenizer that the var names (one of the lake, a folder, or a name
-- on the hub), else estimated from its bytes, and then `estimated` is true.
{{ config(tags=['cuvee_function']) }}
{% if var('tokenizer') %}
select d.doc_id, n_tokens(d.text, '{{ var("tokenizer") | replace("'", "''") }}') as n_tokens, false as estimated
from {{ source('raw', 'documents') }} as d
where d.doc_id in (select doc_id from {{ ref('documents') }})
{% else %}
select
    d.doc_id,
    cast(ceil(strlen(d.text) / {{ cuvee.bytes_per_token() }}) as bigint) as n_tokens,
    true as estimated
from {{ source('raw', 'documents') }} as d
where d.doc_id in (select doc_id from {{ ref('documents') }})
{% endif %}
