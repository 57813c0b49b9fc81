-- What the labeler says about each document. Labels are stored under the text's id, so a document is labelled once,
-- however often this model is built.
with labelled as (
    select d.doc_id, d.n_chars, label_document(d.text) as label
    from {{ source('raw', 'documents') }} as d
    where d.doc_id in (select doc_id from {{ ref('package_documents') }})
)

select
    doc_id,
    n_chars,
    label.free_decimal_correspondence.primary as fdc,
    label.document_type_v1.primary as document_type_v1,
    label.document_type_v2.primary as document_type_v2,
    label
from labelled
