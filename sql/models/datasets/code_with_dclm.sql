-- Code with DCLM: computing and mathematics with reasoning, of which the classifier of DCLM thinks well.
select *
from {{ ref('essential_web') }}
where
    (
        left(eai_taxonomy.free_decimal_correspondence.primary.code, 3) in ('004', '005')
        or starts_with(eai_taxonomy.free_decimal_correspondence.primary.code, '51')
    )
    and eai_taxonomy.document_type_v2.primary.code in ('5', '8', '10', '16', '18', '23')
    and eai_taxonomy.reasoning_depth.primary.code in ('2', '3', '4', '5')
    and quality_signals.fasttext.dclm > 0.01811
