-- Which component each document is of: its source, and of several the first by name. A project has its own answer.
select doc_id, min(source) as component
from {{ source('raw', 'occurrences') }}
where doc_id in (select doc_id from {{ ref('documents') }})
    and not {{ cuvee.is_benchmark('source') }}
group by doc_id
