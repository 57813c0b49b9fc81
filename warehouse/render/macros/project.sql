{# What projects and packages call around their SQL: names of relations, settings, the database's tables and columns. #}

{# --- names --- #}

{% macro generate_schema_name(custom_schema_name=none, node=none) %}
{{- return(adapter.dispatch('generate_schema_name', 'dbt')(custom_schema_name, node)) -}}
{% endmacro %}

{% macro default__generate_schema_name(custom_schema_name, node) -%}
{{ target.schema }}{{ '_' ~ (custom_schema_name | trim) if custom_schema_name is not none }}
{%- endmacro %}

{% macro generate_schema_name_for_env(custom_schema_name, node) -%}
{{ custom_schema_name | trim if target.name == 'prod' and custom_schema_name is not none else target.schema }}
{%- endmacro %}

{% macro generate_alias_name(custom_alias_name=none, node=none) %}
{{- return(adapter.dispatch('generate_alias_name', 'dbt')(custom_alias_name, node)) -}}
{% endmacro %}

{% macro default__generate_alias_name(custom_alias_name=none, node=none) -%}
{{ (custom_alias_name or node.name) | trim }}
{%- endmacro %}

{% macro generate_database_name(custom_database_name=none, node=none) %}
{{- return(adapter.dispatch('generate_database_name', 'dbt')(custom_database_name, node)) -}}
{% endmacro %}

{% macro default__generate_database_name(custom_database_name=none, node=none) -%}
{{ target.database if custom_database_name is none else custom_database_name }}
{%- endmacro %}

{# --- settings --- #}

{% macro should_full_refresh() %}
{%- set own = config.get('full_refresh') -%}
{{- return(flags.FULL_REFRESH if own is none else own) -}}
{% endmacro %}

{% macro should_store_failures() %}
{%- set own = config.get('store_failures') -%}
{{- return(flags.STORE_FAILURES if own is none else own) -}}
{% endmacro %}

{% macro incremental_validate_on_schema_change(on_schema_change, default='ignore') %}
{%- set known = ['ignore', 'fail', 'append_new_columns', 'sync_all_columns'] -%}
{{- return(on_schema_change if on_schema_change in known else default) -}}
{% endmacro %}

{% macro make_hook_config(sql, inside_transaction) -%}
{{ tojson({'sql': sql, 'transaction': inside_transaction}) }}
{%- endmacro %}

{% macro before_begin(sql) -%}{{ make_hook_config(sql, false) }}{%- endmacro %}
{% macro in_transaction(sql) -%}{{ make_hook_config(sql, true) }}{%- endmacro %}
{% macro after_commit(sql) -%}{{ make_hook_config(sql, false) }}{%- endmacro %}

{# --- relations --- #}

{% macro load_cached_relation(relation) %}{{ return(adapter.load_relation(relation)) }}{% endmacro %}

{% macro load_relation(relation) %}{{ return(adapter.load_relation(relation)) }}{% endmacro %}

{% macro get_or_create_relation(database, schema, identifier, type) %}
{%- set found = adapter.get_relation(database, schema, identifier) -%}
{%- set wanted = api.Relation.create(database=database, schema=schema, identifier=identifier, type=type) -%}
{{- return([found is not none, found or wanted]) -}}
{% endmacro %}

{% macro make_temp_relation(base_relation, suffix='__dbt_tmp') %}
{{- return(base_relation.incorporate(path={'identifier': base_relation.identifier ~ suffix})) -}}
{% endmacro %}

{% macro make_intermediate_relation(base_relation, suffix='__dbt_tmp') %}
{{- return(base_relation.incorporate(path={'identifier': base_relation.identifier ~ suffix})) -}}
{% endmacro %}

{% macro information_schema_name(database) %}
{{- return(adapter.dispatch('information_schema_name', 'dbt')(database)) -}}
{% endmacro %}

{% macro default__information_schema_name(database) -%}
{{ database ~ '.' if database }}information_schema
{%- endmacro %}

{% macro list_relations_without_caching(schema_relation) %}
{{- return(adapter.dispatch('list_relations_without_caching', 'dbt')(schema_relation)) -}}
{% endmacro %}

{% macro duckdb__list_relations_without_caching(schema_relation) %}
{%- set sql -%}
select table_catalog as database, table_name as name, table_schema as schema,
    case when table_type = 'VIEW' then 'view' else 'table' end as type
from system.information_schema.tables
where lower(table_catalog) = lower('{{ schema_relation.database }}')
    and lower(table_schema) = lower('{{ schema_relation.schema }}')
{%- endset -%}
{{- return(run_query(sql)) -}}
{% endmacro %}

{% macro list_schemas(database) %}
{{- return(adapter.dispatch('list_schemas', 'dbt')(database)) -}}
{% endmacro %}

{% macro duckdb__list_schemas(database) %}
{%- set where -%} where lower(catalog_name) = lower('{{ database }}') {%- endset -%}
{{- return(run_query('select schema_name from system.information_schema.schemata ' ~ (where if database))) -}}
{% endmacro %}

{% macro check_schema_exists(information_schema, schema) %}
{{- return(adapter.dispatch('check_schema_exists', 'dbt')(information_schema, schema)) -}}
{% endmacro %}

{% macro duckdb__check_schema_exists(information_schema, schema) %}
{%- set sql -%}
select count(*) from system.information_schema.schemata
where lower(schema_name) = lower('{{ schema }}') and lower(catalog_name) = lower('{{ information_schema.database }}')
{%- endset -%}
{{- return(run_query(sql)) -}}
{% endmacro %}

{% macro create_schema(relation) %}
{{- adapter.dispatch('create_schema', 'dbt')(relation) -}}
{% endmacro %}

{% macro duckdb__create_schema(relation) %}
{%- do run_query('create schema if not exists ' ~ relation.without_identifier()) -%}
{% endmacro %}

{% macro drop_schema(relation) %}
{{- adapter.dispatch('drop_schema', 'dbt')(relation) -}}
{% endmacro %}

{% macro duckdb__drop_schema(relation) %}
{%- do run_query('drop schema if exists ' ~ relation.without_identifier() ~ ' cascade') -%}
{% endmacro %}

{% macro drop_relation(relation) %}
{{- return(adapter.dispatch('drop_relation', 'dbt')(relation)) -}}
{% endmacro %}

{% macro duckdb__drop_relation(relation) %}
{%- do run_query('drop ' ~ relation.type ~ ' if exists ' ~ relation) -%}
{% endmacro %}

{% macro drop_relation_if_exists(relation) %}
{%- if relation is not none %}{% do adapter.drop_relation(relation) %}{% endif -%}
{% endmacro %}

{% macro truncate_relation(relation) %}
{{- return(adapter.dispatch('truncate_relation', 'dbt')(relation)) -}}
{% endmacro %}

{% macro default__truncate_relation(relation) %}
{%- do run_query('delete from ' ~ relation) -%}
{% endmacro %}

{% macro rename_relation(from_relation, to_relation) %}
{{- return(adapter.dispatch('rename_relation', 'dbt')(from_relation, to_relation)) -}}
{% endmacro %}

{% macro duckdb__rename_relation(from_relation, to_relation) %}
{%- do run_query('alter ' ~ (to_relation.type or 'table') ~ ' ' ~ from_relation ~ ' rename to '
    ~ adapter.quote(to_relation.identifier)) -%}
{% endmacro %}

{# --- columns --- #}

{% macro get_columns_in_relation(relation) %}
{{- return(adapter.dispatch('get_columns_in_relation', 'dbt')(relation)) -}}
{% endmacro %}

{% macro duckdb__get_columns_in_relation(relation) %}
{{- return(adapter.get_columns_in_relation(relation)) -}}
{% endmacro %}

{% macro get_column_schema_from_query(select_sql, select_sql_header=none) %}
{{- return(adapter.get_column_schema_from_query(get_empty_subquery_sql(select_sql, select_sql_header))) -}}
{% endmacro %}

{% macro get_columns_in_query(select_sql) %}
{{- return(adapter.dispatch('get_columns_in_query', 'dbt')(select_sql)) -}}
{% endmacro %}

{% macro default__get_columns_in_query(select_sql) %}
{{- return(adapter.get_column_schema_from_query(get_empty_subquery_sql(select_sql)) | map(attribute='name') | list) -}}
{% endmacro %}

{% macro get_empty_subquery_sql(select_sql, select_sql_header=none) %}
{{- return(adapter.dispatch('get_empty_subquery_sql', 'dbt')(select_sql, select_sql_header)) -}}
{% endmacro %}

{% macro default__get_empty_subquery_sql(select_sql, select_sql_header=none) -%}
{{ select_sql_header if select_sql_header is not none }}
select * from (
{{ select_sql }}
) as empty_subquery limit 0
{%- endmacro %}

{% macro get_limit_subquery_sql(sql, limit) -%}
{{ adapter.dispatch('get_limit_sql', 'dbt')(sql, limit) }}
{%- endmacro %}

{% macro default__get_limit_sql(sql, limit) -%}
{{ sql }}
{{ 'limit ' ~ limit if limit is not none }}
{%- endmacro %}

{% macro get_list_of_column_names(columns) %}{{ return(columns | map(attribute='name') | list) }}{% endmacro %}

{% macro get_quoted_csv(column_names) %}
{%- set quoted = [] -%}
{%- for name in column_names %}{% do quoted.append(adapter.quote(name)) %}{% endfor -%}
{{- return(quoted | join(', ')) -}}
{% endmacro %}

{% macro diff_columns(source_columns, target_columns) %}
{%- set known = target_columns | map(attribute='name') | list -%}
{{- return(source_columns | rejectattr('name', 'in', known) | list) -}}
{% endmacro %}

{# --- ranges of dates, as text --- #}

{% macro convert_datetime(date_str, date_fmt) %}
{%- set mistake = "The date '" ~ date_str ~ "' does not match the format '" ~ date_fmt ~ "'" -%}
{{- return(try_or_compiler_error(mistake, modules.datetime.datetime.strptime, date_str.strip(), date_fmt)) -}}
{% endmacro %}

{% macro dates_in_range(start_date_str, end_date_str=none, in_fmt='%Y%m%d', out_fmt='%Y%m%d') %}
{%- set first = convert_datetime(start_date_str, in_fmt) -%}
{%- set last = convert_datetime(start_date_str if end_date_str is none else end_date_str, in_fmt) -%}
{%- if last < first -%}
{{- exceptions.raise_compiler_error('the range of dates ends before it begins: ' ~ first ~ ', ' ~ last) -}}
{%- endif -%}
{%- set dates = [] -%}
{%- for days in range((last - first).days + 1) -%}
{%- set day = first + modules.datetime.timedelta(days=days) -%}
{%- do dates.append(day.strftime(out_fmt) if out_fmt else day) -%}
{%- endfor -%}
{{- return(dates) -}}
{% endmacro %}

{% macro partition_range(raw_partition_date, date_fmt='%Y%m%d') %}
{%- set ends = (raw_partition_date | string).split(',') -%}
{%- if ends | length > 2 -%}
{{- exceptions.raise_compiler_error('a range of dates is {start} or {start},{end}, not ' ~ raw_partition_date) -}}
{%- endif -%}
{{- return(dates_in_range(ends[0], ends[1] if ends | length == 2 else none, in_fmt=date_fmt)) -}}
{% endmacro %}

{% macro py_current_timestring() %}
{{- return(modules.datetime.datetime.now().strftime('%Y%m%d%H%M%S%f')) -}}
{% endmacro %}

{% macro set_sql_header(config) -%}
{{ config.set('sql_header', caller()) }}
{%- endmacro %}
