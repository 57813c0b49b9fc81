-- What every rank saw in every batch: the documents of its samples, with as many of their tokens as the samples hold.
{{ config(materialized='view') }}
with batch as (
    select b.run_id, r.export_id, b.batch, b.rank, unnest(b.sample_ids) as sample_id
    from {{ source('runs', 'batches') }} as b
    join {{ ref('run_stages') }} as r on r.run_id = b.run_id and b.batch >= r.from_batch and b.batch < r.to_batch
)
select batch.run_id, batch.batch, batch.rank, batch.sample_id, s.component, s.doc_id, s.n_tokens
from batch
join {{ source('exports', 'samples') }} as s on s.export_id = batch.export_id and s.sample_id = batch.sample_id
