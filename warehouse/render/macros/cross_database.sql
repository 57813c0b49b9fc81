{#
What dbt's templates write instead of SQL that differs between databases. Each macro looks for `duckdb__…`, then
`default__…`, in the project before it takes the one here: a project or a package replaces any of them.
#}

{# --- dates and times --- #}

{% macro dateadd(datepart, interval, from_date_or_timestamp) %}
{{- return(adapter.dispatch('dateadd', 'dbt')(datepart, interval, from_date_or_timestamp)) -}}
{% endmacro %}

{% macro duckdb__dateadd(datepart, interval, from_date_or_timestamp) -%}
{%- set count, unit = {'week': (7, 'day'), 'quarter': (3, 'month')}.get(datepart | lower, (1, datepart | lower)) -%}
({{ from_date_or_timestamp }} + cast({{ interval }} as bigint) * interval '{{ count }} {{ unit }}')
{%- endmacro %}

{% macro datediff(first_date, second_date, datepart) %}
{{- return(adapter.dispatch('datediff', 'dbt')(first_date, second_date, datepart)) -}}
{% endmacro %}

{#
Weeks begin on Sunday, as dbt-duckdb counts them; DuckDB's own difference is whole weeks. From a day back to the same
day of an earlier week dbt-duckdb counts one week more than there are.
#}
{% macro duckdb__datediff(first_date, second_date, datepart) -%}
{%- set first, second = 'cast(' ~ first_date ~ ' as timestamp)', 'cast(' ~ second_date ~ ' as timestamp)' -%}
{%- if datepart == 'week' -%}
({% set day = "interval '1 day'" -%}
date_diff('day', date_trunc('week', {{ first }} + {{ day }}), date_trunc('week', {{ second }} + {{ day }})) // 7
- case when {{ second }} < {{ first }} and dayofweek({{ first }}) = dayofweek({{ second }}) then 1 else 0 end)
{%- else -%}
date_diff('{{ datepart }}', {{ first }}, {{ second }})
{%- endif -%}
{%- endmacro %}

{% macro date_trunc(datepart, date) %}
{{- return(adapter.dispatch('date_trunc', 'dbt')(datepart, date)) -}}
{% endmacro %}

{% macro default__date_trunc(datepart, date) -%}
date_trunc('{{ datepart }}', {{ date }})
{%- endmacro %}

{% macro last_day(date, datepart) %}
{{- return(adapter.dispatch('last_day', 'dbt')(date, datepart)) -}}
{% endmacro %}

{% macro duckdb__last_day(date, datepart) -%}
{{ dbt.default_last_day(date, datepart) }}
{%- endmacro %}

{% macro default_last_day(date, datepart) -%}
cast({{ dbt.dateadd('day', -1, dbt.dateadd(datepart, 1, dbt.date_trunc(datepart, date))) }} as date)
{%- endmacro %}

{% macro date(year, month, day) %}
{{- return(adapter.dispatch('date', 'dbt')(year, month, day)) -}}
{% endmacro %}

{% macro default__date(year, month, day) -%}
cast('{{ modules.datetime.date(year, month, day).isoformat() }}' as date)
{%- endmacro %}

{% macro current_timestamp() %}
{{- adapter.dispatch('current_timestamp', 'dbt')() -}}
{% endmacro %}

{% macro duckdb__current_timestamp() -%}
now()
{%- endmacro %}

{% macro current_timestamp_backcompat() %}
{{- return(adapter.dispatch('current_timestamp_backcompat', 'dbt')()) -}}
{% endmacro %}

{% macro default__current_timestamp_backcompat() -%}
cast(current_timestamp as timestamp)
{%- endmacro %}

{% macro current_timestamp_in_utc_backcompat() %}
{{- return(adapter.dispatch('current_timestamp_in_utc_backcompat', 'dbt')()) -}}
{% endmacro %}

{% macro default__current_timestamp_in_utc_backcompat() -%}
{{ return(adapter.dispatch('current_timestamp_backcompat', 'dbt')()) }}
{%- endmacro %}

{% macro snapshot_get_time() %}
{{- adapter.dispatch('snapshot_get_time', 'dbt')() -}}
{% endmacro %}

{% macro duckdb__snapshot_get_time() -%}
cast({{ current_timestamp() }} as timestamp)
{%- endmacro %}

{% macro snapshot_string_as_time(timestamp) %}
{{- adapter.dispatch('snapshot_string_as_time', 'dbt')(timestamp) -}}
{% endmacro %}

{% macro duckdb__snapshot_string_as_time(timestamp) -%}
{{ return("cast('" ~ timestamp ~ "' as timestamp)") }}
{%- endmacro %}

{# --- series --- #}

{% macro generate_series(upper_bound) %}
{{- return(adapter.dispatch('generate_series', 'dbt')(upper_bound)) -}}
{% endmacro %}

{% macro duckdb__generate_series(upper_bound) -%}
select generate_series as generated_number from generate_series(1, {{ upper_bound }})
{%- endmacro %}

{% macro get_powers_of_two(upper_bound) %}
{{- return(adapter.dispatch('get_powers_of_two', 'dbt')(upper_bound)) -}}
{% endmacro %}

{% macro default__get_powers_of_two(upper_bound) %}
{%- if upper_bound <= 0 %}{{ exceptions.raise_compiler_error('upper bound must be positive') }}{% endif -%}
{%- for power in range(1, 100) %}{% if 2 ** power >= upper_bound %}{{ return(power) }}{% endif %}{% endfor -%}
{% endmacro %}

{% macro get_intervals_between(start_date, end_date, datepart) %}
{{- return(adapter.dispatch('get_intervals_between', 'dbt')(start_date, end_date, datepart)) -}}
{% endmacro %}

{% macro default__get_intervals_between(start_date, end_date, datepart) %}
{%- set found = run_query('select ' ~ dbt.datediff(start_date, end_date, datepart)) -%}
{{- return(found.rows[0][0] if found else 1) -}}
{% endmacro %}

{% macro date_spine(datepart, start_date, end_date) %}
{{- return(adapter.dispatch('date_spine', 'dbt')(datepart, start_date, end_date)) -}}
{% endmacro %}

{# One query, so that the number of dates need not be known when the template is rendered. #}
{% macro default__date_spine(datepart, start_date, end_date) -%}
{%- set name = 'date_' ~ datepart -%}
with counted as (
    select unnest(generate_series(1, {{ dbt.datediff(start_date, end_date, datepart) }})) as generated_number
),
spine as (
    select {{ dbt.dateadd(datepart, 'generated_number - 1', start_date) }} as {{ name }} from counted
)
select * from spine where {{ name }} <= {{ end_date }}
{%- endmacro %}

{# --- strings --- #}

{% macro concat(fields) %}
{{- return(adapter.dispatch('concat', 'dbt')(fields)) -}}
{% endmacro %}

{% macro default__concat(fields) -%}
{{ fields | join(' || ') }}
{%- endmacro %}

{% macro length(expression) %}
{{- return(adapter.dispatch('length', 'dbt')(expression)) -}}
{% endmacro %}

{% macro default__length(expression) -%}
length({{ expression }})
{%- endmacro %}

{% macro position(substring_text, string_text) %}
{{- return(adapter.dispatch('position', 'dbt')(substring_text, string_text)) -}}
{% endmacro %}

{% macro default__position(substring_text, string_text) -%}
position({{ substring_text }} in {{ string_text }})
{%- endmacro %}

{% macro replace(field, old_chars, new_chars) %}
{{- return(adapter.dispatch('replace', 'dbt')(field, old_chars, new_chars)) -}}
{% endmacro %}

{% macro default__replace(field, old_chars, new_chars) -%}
replace({{ field }}, {{ old_chars }}, {{ new_chars }})
{%- endmacro %}

{% macro right(string_text, length_expression) %}
{{- return(adapter.dispatch('right', 'dbt')(string_text, length_expression)) -}}
{% endmacro %}

{% macro default__right(string_text, length_expression) -%}
right({{ string_text }}, {{ length_expression }})
{%- endmacro %}

{% macro split_part(string_text, delimiter_text, part_number) %}
{{- return(adapter.dispatch('split_part', 'dbt')(string_text, delimiter_text, part_number)) -}}
{% endmacro %}

{# A list's element: NULL where there is no such part, and counted from the end if the number is negative. #}
{% macro duckdb__split_part(string_text, delimiter_text, part_number) -%}
string_split({{ string_text }}, {{ delimiter_text }})[{{ part_number }}]
{%- endmacro %}

{% macro hash(field) %}
{{- return(adapter.dispatch('hash', 'dbt')(field)) -}}
{% endmacro %}

{% macro default__hash(field) -%}
md5(cast({{ field }} as {{ dbt.type_string() }}))
{%- endmacro %}

{% macro string_literal(value) %}
{{- return(adapter.dispatch('string_literal', 'dbt')(value)) -}}
{% endmacro %}

{% macro default__string_literal(value) -%}
'{{ value }}'
{%- endmacro %}

{% macro escape_single_quotes(expression) %}
{{- return(adapter.dispatch('escape_single_quotes', 'dbt')(expression)) -}}
{% endmacro %}

{% macro default__escape_single_quotes(expression) -%}
{{ expression | replace("'", "''") }}
{%- endmacro %}

{# --- aggregates --- #}

{% macro any_value(expression) %}
{{- return(adapter.dispatch('any_value', 'dbt')(expression)) -}}
{% endmacro %}

{# DuckDB's any_value passes over NULLs; this one does not. #}
{% macro duckdb__any_value(expression) -%}
arbitrary({{ expression }})
{%- endmacro %}

{% macro bool_or(expression) %}
{{- return(adapter.dispatch('bool_or', 'dbt')(expression)) -}}
{% endmacro %}

{% macro default__bool_or(expression) -%}
bool_or({{ expression }})
{%- endmacro %}

{% macro listagg(measure, delimiter_text="','", order_by_clause=none, limit_num=none) %}
{{- return(adapter.dispatch('listagg', 'dbt')(measure, delimiter_text, order_by_clause, limit_num)) -}}
{% endmacro %}

{% macro duckdb__listagg(measure, delimiter_text, order_by_clause, limit_num) -%}
{%- set order = ' ' ~ order_by_clause if order_by_clause else '' -%}
{%- if limit_num -%}
list_aggregate((array_agg({{ measure }}{{ order }}))[1:{{ limit_num }}], 'string_agg', {{ delimiter_text }})
{%- else -%}
string_agg({{ measure }}, {{ delimiter_text }}{{ order }})
{%- endif -%}
{%- endmacro %}

{# --- types and comparison --- #}

{% macro cast(field, type) %}
{{- return(adapter.dispatch('cast', 'dbt')(field, type)) -}}
{% endmacro %}

{% macro default__cast(field, type) -%}
cast({{ field }} as {{ type }})
{%- endmacro %}

{% macro safe_cast(field, type) %}
{{- return(adapter.dispatch('safe_cast', 'dbt')(field, type)) -}}
{% endmacro %}

{% macro default__safe_cast(field, type) -%}
cast({{ field }} as {{ type }})
{%- endmacro %}

{% macro cast_bool_to_text(field) %}
{{- adapter.dispatch('cast_bool_to_text', 'dbt')(field) -}}
{% endmacro %}

{% macro default__cast_bool_to_text(field) -%}
cast({{ field }} as {{ dbt.type_string() }})
{%- endmacro %}

{% macro equals(expr1, expr2) %}
{{- return(adapter.dispatch('equals', 'dbt')(expr1, expr2)) -}}
{% endmacro %}

{% macro default__equals(expr1, expr2) -%}
{%- if adapter.behavior.enable_truthy_nulls_equals_macro.no_warn -%}
({{ expr1 }} is not distinct from {{ expr2 }})
{%- else -%}
({{ expr1 }} = {{ expr2 }})
{%- endif -%}
{%- endmacro %}

{% macro except() %}
{{- return(adapter.dispatch('except', 'dbt')()) -}}
{% endmacro %}

{% macro default__except() %} except {% endmacro %}

{% macro intersect() %}
{{- return(adapter.dispatch('intersect', 'dbt')()) -}}
{% endmacro %}

{% macro default__intersect() %} intersect {% endmacro %}

{% macro type_string() %}{{ return(adapter.dispatch('type_string', 'dbt')()) }}{% endmacro %}
{% macro default__type_string() %}{{ return(api.Column.translate_type('string')) }}{% endmacro %}

{% macro type_timestamp() %}{{ return(adapter.dispatch('type_timestamp', 'dbt')()) }}{% endmacro %}
{% macro default__type_timestamp() %}{{ return(api.Column.translate_type('timestamp')) }}{% endmacro %}

{% macro type_float() %}{{ return(adapter.dispatch('type_float', 'dbt')()) }}{% endmacro %}
{% macro default__type_float() %}{{ return(api.Column.translate_type('float')) }}{% endmacro %}

{% macro type_numeric() %}{{ return(adapter.dispatch('type_numeric', 'dbt')()) }}{% endmacro %}
{% macro default__type_numeric() %}{{ return(api.Column.numeric_type('numeric', 28, 6)) }}{% endmacro %}

{% macro type_bigint() %}{{ return(adapter.dispatch('type_bigint', 'dbt')()) }}{% endmacro %}
{% macro default__type_bigint() %}{{ return(api.Column.translate_type('bigint')) }}{% endmacro %}

{% macro type_int() %}{{ return(adapter.dispatch('type_int', 'dbt')()) }}{% endmacro %}
{% macro default__type_int() %}{{ return(api.Column.translate_type('integer')) }}{% endmacro %}

{% macro type_boolean() %}{{ return(adapter.dispatch('type_boolean', 'dbt')()) }}{% endmacro %}
{% macro default__type_boolean() %}{{ return(api.Column.translate_type('boolean')) }}{% endmacro %}

{# --- lists --- #}

{% macro array_construct(inputs=[], data_type=none) %}
{{- return(adapter.dispatch('array_construct', 'dbt')(inputs, data_type or dbt.type_int())) -}}
{% endmacro %}

{% macro default__array_construct(inputs, data_type) -%}
{%- if inputs -%} [{{ inputs | join(', ') }}] {%- else -%} cast([] as {{ data_type }}[]) {%- endif -%}
{%- endmacro %}

{% macro array_append(array, new_element) %}
{{- return(adapter.dispatch('array_append', 'dbt')(array, new_element)) -}}
{% endmacro %}

{% macro default__array_append(array, new_element) -%}
list_append({{ array }}, {{ new_element }})
{%- endmacro %}

{% macro array_concat(array_1, array_2) %}
{{- return(adapter.dispatch('array_concat', 'dbt')(array_1, array_2)) -}}
{% endmacro %}

{% macro default__array_concat(array_1, array_2) -%}
list_concat({{ array_1 }}, {{ array_2 }})
{%- endmacro %}
