-- What a mixture may draw from.
{{ config(materialized='view') }}
select doc_id, component, n_tokens from {{ ref('components') }} where split = 'train' and n_tokens > 0
