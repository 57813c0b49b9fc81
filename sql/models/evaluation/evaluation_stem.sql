-- The STEM evaluation set: like evaluation_random, of documents whose subject some labeler puts in science, medicine,
-- engineering, chemical engineering or computing (primary FDC code 5, 60, 61, 62, 66 or 00).
select doc_id
from {{ ref('corpus_labels') }}
where {{ cuvee.kept_for_evaluation('doc_id') }}
    and regexp_matches(free_decimal_correspondence.primary, '^(5[0-9]|60|61|62|66|00)')
group by doc_id
order by md5('{{ var("seed") }}:stem:' || doc_id), doc_id
limit {{ var('evaluation_documents') }}
