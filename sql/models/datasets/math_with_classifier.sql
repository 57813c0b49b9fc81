-- Math with classifier: mathematics on either side, of which the classifier of FineMath thinks well.
select web.*
from {{ ref('essential_web') }} as web
join {{ ref('finemath_scores') }} as scores on scores.doc_id = web.doc_id
where
    (
        starts_with(web.eai_taxonomy.free_decimal_correspondence.primary.code, '51')
        or starts_with(web.eai_taxonomy.free_decimal_correspondence.secondary.code, '51')
    )
    and scores.finemath >= 3.25
