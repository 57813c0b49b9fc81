-- The documents that a labeler may be distilled from: all but those that are kept for evaluating labelers.
select doc_id
from {{ ref('documents') }}
where not {{ cuvee.kept_for_evaluation('doc_id') }}
