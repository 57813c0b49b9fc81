-- Which export a run read in which of its batches: from from_batch on, to_batch itself not. One row, unless its recipe
-- names several mixtures in a row.
{{ config(materialized='view') }}
with run as (
    select
        run_id,
        export_id,
        mixture,
        tokens // cast(coalesce(config ->> '$.batch_tokens', config ->> '$.recipe.batch_tokens') as bigint) as batches,
        cast(json_extract(config, '$.stages[*]') as json[]) as stages
    from {{ source('runs', 'runs') }}
),
stage as (
    select run_id, batches, mixture, export_id, 0 as from_batch from run where len(stages) = 0
    union all
    select run_id, batches, stage ->> '$.mixture', stage ->> '$.export', cast(stage ->> '$.from_batch' as bigint)
    from (select run_id, batches, unnest(stages) as stage from run)
)
select
    run_id,
    mixture,
    export_id,
    from_batch,
    lead(from_batch, 1, batches) over (partition by run_id order by from_batch) as to_batch
from stage
