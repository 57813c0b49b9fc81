{#  is_benchmark(source): true for what was ingested with --benchmark NAME, whose source is benchmarks/NAME. #}
{%- macro is_benchmark(source) -%}
({{ source }} = 'benchmarks' or starts_with({{ source }}, 'benchmarks/'))
{%- endmacro -%}

{# How many words a text has to decontamination (udfs/text/decontamination_normalization.py): runs of letters and
   digits, and each letter of a script that is written without spaces. #}
{%- macro normalized_words(text) -%}
{%- set unspaced = '[\\x{0E00}-\\x{109F}\\x{1780}-\\x{17FF}\\x{1950}-\\x{19FF}\\x{1A20}-\\x{1AAF}\\x{2E80}-\\x{2FDF}\\x{3005}-\\x{3007}'
    ~ '\\x{3021}-\\x{312F}\\x{31A0}-\\x{4DBF}\\x{4E00}-\\x{A4CF}\\x{A9E0}-\\x{A9FF}\\x{AA60}-\\x{AADF}\\x{F900}-\\x{FAFF}'
    ~ '\\x{1AFF0}-\\x{1B16F}\\x{20000}-\\x{3FFFF}]' -%}
len(regexp_extract_all(regexp_replace(regexp_replace(
    {{ text }}, '[\p{M}\p{Cf}]', '', 'g'), '({{ unspaced }})', ' \1 ', 'g'), '[\p{L}\p{N}]+'))
{%- endmacro -%}

{# Texts as literals of SQL, with commas between. #}
{%- macro literals(texts) -%}
{%- for each in texts -%}
'{{ (each | string).replace("'", "''") }}'{{ ", " if not loop.last }}
{%- endfor -%}
{%- endmacro -%}
