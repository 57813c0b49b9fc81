-- Every document and its cluster: near duplicates, their near duplicates, and so on. A document that has none is a cluster
-- of its own.
{{ config(materialized='view') }}
select
    d.doc_id,
    d.n_chars,
    coalesce(m.cluster_id, d.doc_id) as cluster_id,
    coalesce(m.cluster_size, 1) as cluster_size,
    m.kept_doc_id
from {{ ref('document_bands') }} as d
left join {{ ref('duplicate_members') }} as m on m.doc_id = d.doc_id
