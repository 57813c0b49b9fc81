-- One document of each cluster of near duplicates: the longest, and of equally long ones that with the smallest id.
select doc_id, cluster_id, cluster_size
from {{ ref('duplicate_clusters') }}
qualify row_number() over (partition by cluster_id order by n_chars desc, doc_id) = 1
