-- Which labels a labeler gives more often in one source than in another: every two sources.
with distribution as (
    select * from {{ ref('label_distribution_by_source') }}
),
two as (
    select a.labeler, a.source as source_before, b.source as source_after
    from (select distinct labeler, source from distribution) as a
    join (select distinct labeler, source from distribution) as b on b.labeler = a.labeler and b.source > a.source
),
before as (
    select two.*, d.* exclude (labeler, source)
    from two
    join distribution as d on d.labeler = two.labeler and d.source = two.source_before
),
after as (
    select two.*, d.* exclude (labeler, source)
    from two
    join distribution as d on d.labeler = two.labeler and d.source = two.source_after
)
select *
from (
    {{ cuvee.label_drift('before', 'after', by=['labeler', 'source_before', 'source_after']) }}
) as drift
