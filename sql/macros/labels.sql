{#  label_is(category, label, column='label'): true where a document has this label, as primary or as secondary.

        select doc_id from labelled where {{ label_is('document_type_v2', 'Tutorial') }}

    column is the value of label_document(text). The code is looked up in the seed `taxonomy`; a name that is not there
    is an error when the model is built, with the nearest one that is.
#}
{%- macro label_is(category, label, column='label') -%}
{%- set quoted = "'" ~ label | replace("'", "''") ~ "'" -%}
(
    exists (
        select 1 from {{ ref('taxonomy') }} as known_label
        where known_label.category = '{{ category }}'
            and lower(known_label.label) = lower({{ quoted }})
            and known_label.code in ({{ column }}.{{ category }}.primary, {{ column }}.{{ category }}.secondary)
    )
    and (
        select case when bool_or(lower(known_label.label) = lower({{ quoted }})) then true else error(
            'label_is: {{ category }} has no label ' || {{ quoted }} || coalesce('; did you mean '
            || arg_min(known_label.label, levenshtein(lower(known_label.label), lower({{ quoted }}))) || '?', '')
        ) end
        from {{ ref('taxonomy') }} as known_label
        where known_label.category = '{{ category }}'
    )
)
{%- endmacro -%}
