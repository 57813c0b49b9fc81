-- Scores of the FineMath classifier (HuggingFaceTB/finemath-classifier, 0 to 5), which came with documents as the field
-- finemath_score. Whoever runs the classifier replaces this model.
select doc_id, try_cast(metadata ->> 'finemath_score' as double) as finemath
from {{ ref('document_occurrences') }}
where metadata ->> 'finemath_score' is not null
