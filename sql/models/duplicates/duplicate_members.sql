-- The documents that have near duplicates: their cluster, and which document each is dropped for. `digest` tells whether
-- the pairs of the cluster are still the same; those of which it says no, and what is new, are connected again.
{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='doc_id') }}
with pairs as materialized (
    select doc_id, near_doc_id, md5_number_lower(concat_ws(':', doc_id, near_doc_id, similarity)) as digest
    from {{ ref('duplicate_pairs') }}
),
{% if is_incremental() %}
known as materialized (
    select doc_id, cluster_id, digest from {{ this }}
),

stale as materialized (
    select clusters.cluster_id
    from (select cluster_id, any_value(digest) as digest from known group by cluster_id) as clusters
    left join (
        select known.cluster_id, bit_xor(pairs.digest) as digest
        from pairs
        join known on known.doc_id = pairs.doc_id
        group by known.cluster_id
    ) as now on now.cluster_id = clusters.cluster_id
    where now.digest is distinct from clusters.digest
),

touched as materialized (
    select doc_id from known where cluster_id in (select cluster_id from stale)
    union
    select doc_id from pairs where doc_id not in (select doc_id from known)
    union
    select near_doc_id
    from pairs
    where doc_id not in (select doc_id from known)
        or doc_id in (select doc_id from known where cluster_id in (select cluster_id from stale))
),

members as materialized (
    select doc_id from touched
    union
    select doc_id
    from known
    where cluster_id in (select cluster_id from known where doc_id in (select doc_id from touched))
),
{%- else %}
members as materialized (
    select doc_id from pairs
    union
    select near_doc_id from pairs
),
{%- endif %}

work as materialized (
    select * from pairs where doc_id in (select doc_id from members)
),

clusters as materialized (
    {{ cuvee.connected_components('work', 'doc_id', 'near_doc_id') }}
),

dropped as (
    {{ cuvee.dropped_duplicates('work') }}
),

digests as (
    select clusters.component, bit_xor(work.digest) as digest
    from work
    join clusters on clusters.node = work.doc_id
    group by clusters.component
)

select
    members.doc_id,
    coalesce(clusters.component, members.doc_id) as cluster_id,
    count(*) over (partition by coalesce(clusters.component, members.doc_id)) as cluster_size,
    dropped.kept_doc_id,
    digests.digest
from members
left join clusters on clusters.node = members.doc_id
left join dropped on dropped.doc_id = members.doc_id
left join digests on digests.component = clusters.component
