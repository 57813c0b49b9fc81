-- Which secondary label goes with which primary one.
with cells as materialized (
    {{ cuvee.label_cells(ref('corpus_labels')) }}
),
facets as (
    {{ cuvee.by_facet('cells') }}
),
counted as (
    select labeler, category, "primary", secondary, cast(sum(documents) as bigint) as documents
    from facets
    group by all
)
select
    counted.labeler,
    counted.category,
    counted."primary",
    first_label.label as primary_label,
    counted.secondary,
    second_label.label as secondary_label,
    counted.documents,
    counted.documents / sum(counted.documents) over (
        partition by counted.labeler, counted.category, counted."primary"
    ) as share
from counted
left join {{ cuvee.facet_labels() }} as first_label
    on first_label.category = counted.category and first_label.code = counted."primary"
left join {{ cuvee.facet_labels() }} as second_label
    on second_label.category = counted.category and second_label.code = counted.secondary
