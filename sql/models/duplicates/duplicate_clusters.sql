-- Which documents are near duplicates of one another. A document that has none is a cluster of its own.
with connected as (
    {{ connected_components(ref('duplicate_pairs'), 'doc_id', 'first_id') }}
)

select
    m.doc_id,
    m.n_chars,
    coalesce(c.component, m.doc_id) as cluster_id,
    count(*) over (partition by coalesce(c.component, m.doc_id)) as cluster_size
from {{ ref('document_minhash') }} as m
left join connected as c on c.node = m.doc_id
