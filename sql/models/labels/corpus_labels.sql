-- What every labeler says of the documents that count: the rows of current_labels that are of `documents`.
{{ config(materialized='view') }}
select l.*
from {{ ref('current_labels') }} as l
semi join {{ ref('documents') }} as d on d.doc_id = l.doc_id
