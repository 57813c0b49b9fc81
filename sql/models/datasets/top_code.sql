-- Top Code: programming that is documented, discussed or taught, with much reasoning, highly correct.
select *
from {{ ref('essential_web') }}
where
    left(eai_taxonomy.free_decimal_correspondence.primary.code, 5) in ('005.1', '005.3')
    and eai_taxonomy.document_type_v1.primary.code in ('3', '5')
    and eai_taxonomy.document_type_v2.primary.code in ('5', '8', '10', '16', '18', '23')
    and eai_taxonomy.reasoning_depth.primary.code in ('3', '4', '5')
    and eai_taxonomy.technical_correctness.primary.code = '4'
