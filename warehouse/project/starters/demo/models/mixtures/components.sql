-- Which component each document is of. Legal text is told by its label, wherever it is; prose is what people wrote
-- about the code.
select
    d.doc_id,
    case
        when {{ cuvee.label_is('document_type_v2', 'Legal Notices', 'l.label') }} then 'legal'
        when d.kind in ('description', 'documentation', 'licence') then 'prose'
        else 'code'
    end as component
from {{ ref('package_documents') }} as d
join {{ ref('document_labels') }} as l on l.doc_id = d.doc_id
