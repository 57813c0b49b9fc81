{#  label_is(category, label, column='label'): true where a document has this label, as primary or as secondary.

        select doc_id from labelled where {{ label_is('document_type_v2', 'Tutorial') }}

    column is the value of label_document(text). The code is looked up in the seed `taxonomy`; a name that is not there
    matches nothing.
#}
{%- macro label_is(category, label, column='label') -%}
exists (
    select 1 from {{ ref('taxonomy') }} as known_label
    where known_label.category = '{{ category }}'
        and lower(known_label.label) = lower('{{ label | replace("'", "''") }}')
        and known_label.code in ({{ column }}.{{ category }}.primary, {{ column }}.{{ category }}.secondary)
)
{%- endmacro -%}
