-- Documents and tokens by subject: the classes of FDC at levels 1, 2 and 3, each with the class above it.
select
    d.labeler,
    cast(right(d.category, 1) as integer) as level,
    d.code,
    d.label,
    c.parent,
    p.label as parent_label,
    d.rank,
    d.documents,
    d.share,
    d.tokens,
    d.token_share,
    d.estimated
from {{ ref('label_distribution') }} as d
left join {{ ref('fdc') }} as c on c.code = d.code
left join {{ ref('fdc') }} as p on p.code = c.parent
where starts_with(d.category, 'fdc_level_')
