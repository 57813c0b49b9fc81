-- Without a benchmark nothing is contaminated: cuvee ingest FILE --benchmark NAME.
{{ config(severity='warn') }}
select 'no benchmark is loaded' as notice
where not exists (select 1 from {{ ref('benchmark_items') }})
