-- Top Math: mathematics that explains, discusses or answers, with reasoning, highly correct.
select *
from {{ ref('essential_web') }}
where
    starts_with(eai_taxonomy.free_decimal_correspondence.primary.code, '51')
    and eai_taxonomy.document_type_v1.primary.code in ('3', '4', '5', '9')
    and eai_taxonomy.document_type_v2.primary.code in ('5', '8', '9', '10', '15', '16', '18', '20', '23')
    and eai_taxonomy.reasoning_depth.primary.code in ('2', '3', '4', '5')
    and eai_taxonomy.technical_correctness.primary.code in ('4', '5')
