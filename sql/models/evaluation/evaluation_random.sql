-- The random evaluation set: the first documents, in the order of a hash, of those that are kept for evaluation.
select doc_id
from {{ ref('documents') }}
where {{ cuvee.kept_for_evaluation('doc_id') }}
order by md5('{{ var("seed") }}:random:' || doc_id), doc_id
limit {{ var('evaluation_documents') }}
