{#  facets(): what models about labels count by: the ten categories of the taxonomy eai, with FDC's three levels in place
    of its code. A list of names, in the order of the taxonomy.
#}
{%- macro facets() -%}
{{ return(['fdc_level_1', 'fdc_level_2', 'fdc_level_3'] + cuvee.plain_categories()) }}
{%- endmacro -%}


{#  plain_categories(): the categories of the taxonomy eai but for FDC. #}
{%- macro plain_categories() -%}
{{ return(cuvee.eai_categories()[1:]) }}
{%- endmacro -%}


{#  fdc_class(code, level): the first digits of an FDC code, NULL where it has fewer; -1 (Abstain) stays what it is.

        select {{ cuvee.fdc_class('label.free_decimal_correspondence.primary', 2) }} as subject
#}
{%- macro fdc_class(code, level) -%}
case
    when starts_with({{ code }}, '-') then {{ code }}
    when length({{ code }}) >= {{ level }} then left({{ code }}, {{ level }})
end
{%- endmacro -%}


{#  code_of(facet, rank, prefix=''): the code of a facet in a row of current_labels; rank is primary or secondary. #}
{%- macro code_of(facet, rank, prefix='') -%}
{%- if facet.startswith('fdc_level_') -%}
{{ cuvee.fdc_class(prefix ~ 'free_decimal_correspondence.' ~ rank, facet[-1] | int) }}
{%- else -%}
{{ prefix }}{{ facet }}.{{ rank }}
{%- endif -%}
{%- endmacro -%}
