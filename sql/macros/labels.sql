{#  label_is(category, label, column='label', taxonomy='eai'): true where a document has this label, as primary or as
    secondary.

        select doc_id from labelled where {{ cuvee.label_is('document_type_v2', 'Tutorial') }}

    column is the value of label_document(text); label is a name, whatever its case, or a code. A label that has others
    below it means them too: Mathematics is every FDC code that begins with 51. Cuvée looks the code up when it compiles
    the model; a name that is not there is an error, with the nearest one that is. dbt looks it up in the seeds when the
    query runs; there, only FDC's labels mean those below them.
#}
{%- macro label_is(category, label, column='label', taxonomy='eai') -%}
{%- if label_codes is defined -%}
{%- set found = label_codes(category, label, taxonomy) -%}
{%- set primary = column ~ '.' ~ category ~ '.primary' -%}
{%- set secondary = column ~ '.' ~ category ~ '.secondary' -%}
{%- if found.prefix -%}
coalesce(starts_with({{ primary }}, '{{ found.prefix }}') or starts_with({{ secondary }}, '{{ found.prefix }}'), false)
{%- else -%}
{%- set codes = "('" ~ found.codes | join("', '") ~ "')" -%}
coalesce({{ primary }} in {{ codes }} or {{ secondary }} in {{ codes }}, false)
{%- endif -%}
{%- else -%}
{%- set quoted = "'" ~ label | replace("'", "''") ~ "'" -%}
{%- set labels = ref('fdc') if category == 'free_decimal_correspondence' else cuvee.taxonomy_labels(taxonomy) -%}
{%- set known = "known_label.category = '" ~ category ~ "'" if category != 'free_decimal_correspondence' else 'true' -%}
(
    exists (
        select 1 from {{ labels }} as known_label
        where {{ known }}
            and {{ quoted }} != ''
            and lower({{ quoted }}) in (lower(known_label.label), lower(known_label.code))
            and (
                known_label.code in ({{ column }}.{{ category }}.primary, {{ column }}.{{ category }}.secondary)
                {%- if category == 'free_decimal_correspondence' %}
                or starts_with({{ column }}.{{ category }}.primary, known_label.code)
                or starts_with({{ column }}.{{ category }}.secondary, known_label.code)
                {%- endif %}
            )
    )
    and (
        select case
            when bool_or(lower({{ quoted }}) in (lower(known_label.label), lower(known_label.code))) then true
            else error(
                'label_is: {{ category }} has no label ' || {{ quoted }} || coalesce('; did you mean '
                || arg_min(known_label.label, levenshtein(lower(known_label.label), lower({{ quoted }}))) || '?', '')
            )
        end
        from {{ labels }} as known_label
        where {{ known }}
    )
)
{%- endif -%}
{%- endmacro -%}


{#  taxonomy_labels(taxonomy='eai'): a taxonomy's labels as a relation with the columns category, code, label, and what
    else its file has. Of FDC it has the ten main classes; all of them are in the seed fdc.

        select category, code, label from {{ cuvee.taxonomy_labels('web_domains') }}

    A taxonomy in a CSV file is a seed, and this is that seed. The labels of a YAML file are written into the query.
#}
{%- macro taxonomy_labels(taxonomy='eai') -%}
{%- set rows = taxonomy_rows(taxonomy) if taxonomy_rows is defined else none -%}
{%- if rows -%}
(
    select * from (values
        {%- for row in rows %}
        ({% for value in row.values() %}
            {%- if value is none -%} null {%- elif value is number -%} {{ value }}
            {%- else -%} '{{ value | replace("'", "''") }}' {%- endif -%}
            {{ ', ' if not loop.last }}
        {%- endfor %}){{ ',' if not loop.last }}
        {%- endfor %}
    ) as known({{ rows[0].keys() | join(', ') }})
)
{%- else -%}
{{ ref('taxonomy' if taxonomy == 'eai' else taxonomy) }}
{%- endif -%}
{%- endmacro -%}


{#  label_of_fdc(code, taxonomy): the code of the label whose FDC prefixes cover an FDC code, the longest prefix first;
    NULL where none does. For taxonomies that are defined by FDC, such as web_domains.

        select {{ cuvee.label_of_fdc('label.free_decimal_correspondence.primary', 'web_domains') }} as domain
#}
{%- macro label_of_fdc(code, taxonomy='web_domains') -%}
(
    {#- The inner columns have names of their own: the code asked about is often in a column named code. #}
    select arg_max(claimed.claimed_label, length(claimed.claimed_prefix))
    from (
        select known_label.code as claimed_label, unnest(string_split(known_label.prefixes, ' ')) as claimed_prefix
        from {{ cuvee.taxonomy_labels(taxonomy) }} as known_label
    ) as claimed
    where claimed.claimed_prefix != '' and starts_with({{ code }}, claimed.claimed_prefix)
)
{%- endmacro -%}


{#  fdc_label(code, level=1): the name of an FDC code's class at level 1, 2 or 3, found by the code's first digits; NULL
    where FDC has none, as for all X0 at level 2, and for -1.

        select {{ cuvee.fdc_label('label.free_decimal_correspondence.primary', 2) }} as subject
#}
{%- macro fdc_label(code, level=1) -%}
(
    select named.class_label
    from (select code as class_code, label as class_label, level as class_level from {{ ref('fdc') }}) as named
    where named.class_level = {{ level }} and named.class_code = left({{ code }}, {{ level }})
)
{%- endmacro -%}
