-- Whole packages that no mixture and no tokenizer sees, once each. Losses are measured on these.
select doc_id, component, 1 as copies, n_tokens
from {{ ref('components') }}
where split = 'held_out' and n_tokens > 0
