-- The pool of the mixtures: what each document is, and how many tokens it has. Legal text is told by its label, wherever
-- it stands; prose is what people wrote about the code.
select
    d.doc_id,
    case
        when {{ label_is('document_type_v2', 'Legal Notices', 'l.label') }} then 'legal'
        when d.kind in ('description', 'documentation', 'licence') then 'prose'
        else 'code'
    end as component,
    d.split,
    t.n_tokens
from {{ ref('package_documents') }} as d
join {{ ref('document_labels') }} as l on l.doc_id = d.doc_id
join {{ ref('document_tokens') }} as t on t.doc_id = d.doc_id
