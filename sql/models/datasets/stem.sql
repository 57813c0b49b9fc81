-- STEM: science on both sides, with reasoning; code, medicine and engineering have their own kinds of document.
select *
from {{ ref('essential_web') }}
where
    left(eai_taxonomy.free_decimal_correspondence.primary.code, 2) in (
        '50', '51', '52', '53', '54', '55', '56', '57', '58', '59', '60', '61', '62', '66', '00'
    )
    and left(eai_taxonomy.free_decimal_correspondence.secondary.code, 2) in (
        '50', '51', '52', '53', '54', '55', '56', '57', '58', '59', '60', '61', '62', '66', '00'
    )
    and eai_taxonomy.reasoning_depth.primary.code not in ('-1', '6')
    and (
        -- code
        (
            (
                left(eai_taxonomy.free_decimal_correspondence.primary.code, 5) in ('005.1', '005.4')
                or left(eai_taxonomy.free_decimal_correspondence.secondary.code, 5) in ('005.1', '005.4')
            )
            and eai_taxonomy.document_type_v1.primary.code in ('2', '3', '4', '5')
            and eai_taxonomy.document_type_v2.primary.code in ('3', '5', '8', '10', '16', '18', '23')
        )
        -- medicine
        or (
            (
                left(eai_taxonomy.free_decimal_correspondence.primary.code, 2) = '61'
                or left(eai_taxonomy.free_decimal_correspondence.secondary.code, 2) = '61'
            )
            and eai_taxonomy.document_type_v1.primary.code in ('2', '3', '4', '11')
            and eai_taxonomy.document_type_v2.primary.code in ('3', '8', '9', '10', '14', '23')
        )
        -- engineering
        or (
            (
                left(eai_taxonomy.free_decimal_correspondence.primary.code, 2) = '62'
                or left(eai_taxonomy.free_decimal_correspondence.secondary.code, 2) = '62'
            )
            and eai_taxonomy.document_type_v1.primary.code in ('2', '3', '9', '11')
            and eai_taxonomy.document_type_v2.primary.code in ('3', '4', '8', '9', '10', '14', '23')
        )
        -- anything else of these sciences
        or (
            eai_taxonomy.document_type_v1.primary.code in ('2', '3')
            and eai_taxonomy.document_type_v2.primary.code in ('3', '10', '14')
        )
    )
