-- What a run saw between two of its checkpoints: batches from from_batch on, to_batch itself not. The first begins at 0.
{{ config(materialized='view') }}
with intervals as (
    select
        run_id,
        lag(batch, 1, 0) over (partition by run_id order by batch) as from_batch,
        batch as to_batch,
        tokens as to_tokens
    from {{ source('runs', 'checkpoints') }}
)
select
    i.run_id,
    i.from_batch,
    i.to_batch,
    i.to_tokens,
    d.component,
    d.doc_id,
    count(*) as times,
    sum(d.n_tokens) as n_tokens
from intervals as i
join {{ ref('batch_documents') }} as d on d.run_id = i.run_id and d.batch >= i.from_batch and d.batch < i.to_batch
group by all
