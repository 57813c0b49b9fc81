{#  eai_categories(): the ten fields of the taxonomy eai, in the order of the published dataset. #}
{%- macro eai_categories() -%}
{{ return([
    'free_decimal_correspondence', 'bloom_cognitive_process', 'bloom_knowledge_domain', 'document_type_v1',
    'extraction_artifacts', 'missing_content', 'document_type_v2', 'reasoning_depth', 'technical_correctness',
    'education_level',
]) }}
{%- endmacro -%}


{#  eai_label(category, rank): a label in the published shape, from a relation named labels as eai_labels has it: code
    and label, or code and three labels for FDC. No secondary is published as the code -1.

    The names come from relations that eai_label_names joins.
#}
{%- macro eai_label(category, rank) -%}
{%- set code = cuvee.eai_code(category, rank) -%}
{%- set named = category ~ '_' ~ rank -%}
{%- if category == 'free_decimal_correspondence' -%}
{
            'code': {{ code }},
            'labels': {
                {%- for level in (1, 2, 3) %}
                'level_{{ level }}': {{ named }}_{{ level }}.label{{ ',' if not loop.last }}
                {%- endfor %}
            }
        }
{%- else -%}
{'code': {{ code }}, 'label': {{ named }}.label}
{%- endif -%}
{%- endmacro -%}


{%- macro eai_code(category, rank) -%}
{%- if rank == 'primary' -%}
labels.{{ category }}.primary
{%- else -%}
coalesce(labels.{{ category }}.secondary, '-1')
{%- endif -%}
{%- endmacro -%}


{#  eai_label_names(): the joins to the seeds taxonomy and fdc that eai_label needs. #}
{%- macro eai_label_names() -%}
{%- for category in cuvee.eai_categories() -%}
{%- for rank in ('primary', 'secondary') %}
{%- set code = cuvee.eai_code(category, rank) -%}
{%- set named = category ~ '_' ~ rank -%}
{%- if category == 'free_decimal_correspondence' %}
{%- for level in (1, 2, 3) %}
left join {{ ref('fdc') }} as {{ named }}_{{ level }}
    on {{ named }}_{{ level }}.level = {{ level }} and {{ named }}_{{ level }}.code = left({{ code }}, {{ level }})
{%- endfor %}
{%- else %}
left join {{ ref('taxonomy') }} as {{ named }}
    on {{ named }}.category = '{{ category }}' and {{ named }}.code = {{ code }}
{%- endif %}
{%- endfor %}
{%- endfor %}
{%- endmacro -%}
