-- Whole packages that no mixture and no tokenizer sees, without near duplicates of what they do see, once each. Losses are
-- measured on these.
select d.doc_id, c.component, 1 as copies, t.n_tokens
from {{ ref('package_documents') }} as d
join {{ ref('components') }} as c on c.doc_id = d.doc_id
join {{ ref('document_tokens') }} as t on t.doc_id = d.doc_id
where d.split = 'held_out' and t.n_tokens > 0
