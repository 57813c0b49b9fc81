-- What mixtures and tokenizers may see.
select doc_id from {{ ref('package_documents') }} where split = 'train'
