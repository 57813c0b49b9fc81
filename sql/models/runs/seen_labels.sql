-- What a run saw between two of its checkpoints, by label: documents once each, their tokens as often as they were seen.
{{ config(materialized='view') }}
{% set labelled %}
(
    select l.*, i.run_id, i.from_batch, i.to_batch, i.n_tokens
    from {{ ref('checkpoint_intervals') }} as i
    join {{ ref('current_labels') }} as l on l.doc_id = i.doc_id
)
{% endset %}
{{ cuvee.label_distribution(labelled, by=['labeler', 'run_id', 'from_batch', 'to_batch'], counted='documents') }}
