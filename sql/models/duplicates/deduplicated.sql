-- The documents that are kept: in the order of length, each that is not a near duplicate of one that is kept already.
-- Of equally long ones that with the smallest id comes first.
{{ config(materialized='view') }}
select doc_id, cluster_id, cluster_size
from {{ ref('duplicate_clusters') }}
where kept_doc_id is null
