-- One row per document of the installed packages. Packages share licences and vendored files, so held-out is decided
-- by package: a document is held out if every package that has it is, and trained on if none is. One that stands on
-- both sides would measure memory, so it is neither; and neither is one with a near duplicate that is trained on.
with found as (
    select
        doc_id,
        min(package) as package,
        case
            when bool_or(kind = 'source') then 'source'
            when bool_or(kind = 'licence') then 'licence'
            else min(kind)
        end as kind,
        count(*) as copies_found,
        case when bool_and(held_out) then 'held_out' when bool_or(held_out) then 'neither' else 'train' end as split
    from {{ ref('package_files') }}
    group by doc_id
),

trained as (
    select distinct clusters.cluster_id
    from found
    join {{ ref('duplicate_clusters') }} as clusters on clusters.doc_id = found.doc_id
    where found.split = 'train'
)

select
    found.doc_id,
    found.package,
    found.kind,
    found.copies_found,
    case when found.split = 'held_out' and trained.cluster_id is not null then 'neither' else found.split end as split
from found
left join {{ ref('duplicate_clusters') }} as clusters on clusters.doc_id = found.doc_id
left join trained on trained.cluster_id = clusters.cluster_id
