-- Which labels one labeler gives more often than another: every two labelers, each by all that it labelled.
with distribution as (
    select * from {{ ref('label_distribution') }}
),
two as (
    select a.labeler as labeler_before, b.labeler as labeler_after
    from (select distinct labeler from distribution) as a
    join (select distinct labeler from distribution) as b on b.labeler > a.labeler
),
before as (
    select two.*, distribution.* exclude (labeler) from two join distribution on distribution.labeler = two.labeler_before
),
after as (
    select two.*, distribution.* exclude (labeler) from two join distribution on distribution.labeler = two.labeler_after
)
select *
from (
    {{ cuvee.label_drift('before', 'after', by=['labeler_before', 'labeler_after']) }}
) as drift
