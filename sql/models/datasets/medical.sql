-- Medical: medicine beside a science, academic or explaining, with reasoning, highly correct.
select *
from {{ ref('essential_web') }}
where
    (
        (
            left(eai_taxonomy.free_decimal_correspondence.primary.code, 2) = '61'
            and left(eai_taxonomy.free_decimal_correspondence.secondary.code, 2)
            in ('50', '51', '54', '57', '58', '59', '61')
        )
        or (
            left(eai_taxonomy.free_decimal_correspondence.secondary.code, 2) = '61'
            and left(eai_taxonomy.free_decimal_correspondence.primary.code, 2)
            in ('50', '51', '54', '57', '58', '59', '61')
        )
    )
    and (
        eai_taxonomy.document_type_v1.primary.code in ('2', '3')
        or eai_taxonomy.document_type_v2.primary.code in ('3', '8', '10', '18')
    )
    and eai_taxonomy.document_type_v1.primary.code not in ('1', '4', '5', '6', '8', '9', '10', '15', '16')
    and eai_taxonomy.document_type_v2.primary.code not in (
        '1', '2', '4', '5', '6', '7', '11', '12', '13', '14', '16', '17', '19', '20', '22', '23', '24'
    )
    and eai_taxonomy.reasoning_depth.primary.code in ('2', '3', '4', '5')
    and eai_taxonomy.technical_correctness.primary.code in ('4', '5')
