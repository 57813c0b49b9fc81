-- How much every two categories tell of each other.
{{ config(materialized='view') }}
{% set by = ['labeler', 'category_x', 'category_y'] %}
{% set labelled %}
(
    select l.*, d.n_chars
    from {{ ref('corpus_labels') }} as l
    join {{ source('raw', 'documents') }} as d on d.doc_id = l.doc_id
)
{% endset %}
with of_primaries as (
    {{ cuvee.nmi(ref('label_cooccurrence'), by) }}
),
weighed as (
    -- In hundredths of a character, so that it stays a whole number.
    select *, case when rank_x = rank_y then 100 else 1 end * characters as hundredths
    from (
        {{ cuvee.category_cells(labelled, measures={'characters': 'cast(sum(n_chars) as bigint)'}, secondaries=true) }}
    ) as met
),
of_all as (
    {{ cuvee.nmi('weighed', by, weight='hundredths') }}
)
select
    of_primaries.labeler,
    of_primaries.category_x,
    of_primaries.category_y,
    cast(of_primaries.weight as bigint) as documents,
    of_primaries.nmi,
    of_all.nmi as nmi_with_secondaries
from of_primaries
join of_all using (labeler, category_x, category_y)
