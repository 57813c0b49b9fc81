-- Quality signals in the published shape, of documents that came with some: of several, those of the place that
-- document_occurrences would choose.
{{ config(materialized='view') }}
select came.doc_id, came.quality_signals
from {{ ref('occurrence_quality_signals') }} as came
-- A place that was forgotten has none.
semi join {{ source('raw', 'occurrences') }} as o
    on o.doc_id = came.doc_id and o.file_id = came.file_id and o.position = came.position
qualify row_number() over (
    partition by came.doc_id
    order by came.published desc, {{ cuvee.is_benchmark('came.source') }}, came.source, came.file_id, came.position
) = 1
