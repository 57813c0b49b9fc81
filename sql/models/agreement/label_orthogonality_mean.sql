-- How independent a labeler's categories are, as one number: the mean over 36 pairs. FDC counts at its third level only,
-- and of the two document types only one. The paper says of both that they were left out, so here are both means.
{{ config(materialized='view') }}
select
    labeler,
    avg(nmi order by category_x, category_y) filter (where not of_v2) as nmi_with_document_type_v1,
    avg(nmi order by category_x, category_y) filter (where not of_v1) as nmi_with_document_type_v2,
    avg(nmi_with_secondaries order by category_x, category_y) filter (where not of_v2)
        as nmi_with_secondaries_with_document_type_v1,
    avg(nmi_with_secondaries order by category_x, category_y) filter (where not of_v1)
        as nmi_with_secondaries_with_document_type_v2
from (
    select *,
        'document_type_v1' in (category_x, category_y) as of_v1,
        'document_type_v2' in (category_x, category_y) as of_v2
    from {{ ref('label_orthogonality') }}
    where not (category_x in ('fdc_level_1', 'fdc_level_2') or category_y in ('fdc_level_1', 'fdc_level_2'))
) as pairs
group by labeler
