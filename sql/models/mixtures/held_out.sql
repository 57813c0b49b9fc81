-- What no mixture sees, so that losses are measured on it: a share of the clusters of near duplicates (var
-- held_out_share), each document once.
select
    d.doc_id,
    coalesce(c.component, '(none)') as component,
    1 as copies,
    t.n_tokens
from {{ ref('documents') }} as d
join {{ ref('duplicate_clusters') }} as k on k.doc_id = d.doc_id
join {{ ref('document_tokens') }} as t on t.doc_id = d.doc_id
left join {{ ref('components') }} as c on c.doc_id = d.doc_id
where t.n_tokens > 0
    and {{ cuvee.held_out('k.cluster_id', share=var('held_out_share'), seed=var('seed')) }}
