-- How many tokens each document has for the tokenizer that the mixtures count with.
select d.doc_id, n_tokens(d.text, '{{ var("tokenizer") }}') as n_tokens
from {{ source('raw', 'documents') }} as d
where d.doc_id in (select doc_id from {{ ref('package_documents') }})
