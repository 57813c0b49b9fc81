-- Which documents a checkpoint has seen, how often and how many of their tokens: in its own run up to its batch, and in
-- the runs that this one came from up to where it left them. from_run_id says where.
{{ config(materialized='view') }}
with recursive run as (
    select
        run_id,
        parent_run_id,
        coalesce(cast(config ->> '$.tokens_before' as bigint), 0) as tokens_before,
        cast(config ->> '$.batch_tokens' as bigint) as batch_tokens
    from {{ source('runs', 'runs') }}
),
line as (
    select run_id, run_id as from_run_id, cast(null as bigint) as left_at
    from run
    union all
    select line.run_id, parent.run_id, (child.tokens_before - parent.tokens_before) // parent.batch_tokens
    from line
    join run as child on child.run_id = line.from_run_id
    join run as parent on parent.run_id = child.parent_run_id
)
select
    c.run_id,
    c.batch,
    c.tokens,
    c.path,
    line.from_run_id,
    d.component,
    d.doc_id,
    count(*) as times,
    sum(d.n_tokens) as n_tokens
from {{ source('runs', 'checkpoints') }} as c
join line on line.run_id = c.run_id
join {{ ref('batch_documents') }} as d on d.run_id = line.from_run_id and d.batch < coalesce(line.left_at, c.batch)
group by all
