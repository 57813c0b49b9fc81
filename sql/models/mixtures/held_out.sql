-- Whole packages that no mixture and no tokenizer sees, without near duplicates of what they do see, once each. Losses are
-- measured on these.
select doc_id, component, 1 as copies, n_tokens
from {{ ref('components') }}
where split = 'held_out' and n_tokens > 0
