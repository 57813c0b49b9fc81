-- Token shares by component as they came to be, at every checkpoint of a run: since the one before, since the beginning,
-- and in the mixture (an epoch of its export, without the component that the run leaves out; stages by their batches).
{{ config(materialized='view') }}
with export as (
    select export_id, any_value(manifest) as manifest from {{ source('exports', 'exports') }} group by export_id
),
stage as (
    select
        s.run_id,
        s.from_batch,
        s.to_batch - s.from_batch as batches,
        component,
        cast(json_extract(e.manifest, concat('$.components."', component, '".exported_tokens')) as bigint) as n_tokens
    from {{ ref('run_stages') }} as s
    join {{ source('runs', 'runs') }} as r on r.run_id = s.run_id
    join export as e on e.export_id = s.export_id
    cross join unnest(json_keys(e.manifest, '$.components')) as t(component)
    where component is distinct from (r.config ->> '$.left_out')
),
mixture as (
    select run_id, component, sum(part) as n_tokens
    from (
        select run_id, component, batches * n_tokens / sum(n_tokens) over (partition by run_id, from_batch) as part
        from stage
    )
    group by all
),
seen as (
    select run_id, to_batch, to_tokens, component, sum(n_tokens) as n_tokens
    from {{ ref('checkpoint_intervals') }}
    group by all
),
-- A component of which an interval saw nothing has its row too.
every as (
    select c.run_id, c.batch, c.tokens, m.component, m.n_tokens as mixture_tokens, coalesce(s.n_tokens, 0) as n_tokens
    from {{ source('runs', 'checkpoints') }} as c
    join mixture as m on m.run_id = c.run_id
    left join seen as s on s.run_id = c.run_id and s.to_batch = c.batch and s.component = m.component
),
totals as (
    select *, sum(n_tokens) over (partition by run_id, component order by batch) as tokens_so_far
    from every
)
select
    run_id,
    batch,
    tokens,
    component,
    n_tokens,
    n_tokens / sum(n_tokens) over (partition by run_id, batch) as share,
    tokens_so_far,
    tokens_so_far / sum(tokens_so_far) over (partition by run_id, batch) as share_so_far,
    mixture_tokens / sum(mixture_tokens) over (partition by run_id, batch) as mixture_share
from totals
