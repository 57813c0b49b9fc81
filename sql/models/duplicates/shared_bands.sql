-- The bands that several documents have. A row without a document says which rows of document_bands are in here.
{{ config(materialized='incremental', incremental_strategy='append') }}
with banded as (
    select doc_id, n_chars, unnest(bands) as band
    from {{ ref('document_bands') }}
),
{% if is_incremental() %}
unseen as materialized (
    select distinct built_by
    from {{ ref('document_bands') }}
    where built_by not in (select seen from {{ this }} where seen is not null)
),

touched as materialized (
    select banded.*
    from banded
    where band in (
        select unnest(bands) from {{ ref('document_bands') }} where built_by in (select built_by from unseen)
    )
),

shared as (
    select *
    from touched
    where band in (select band from touched group by band having count(*) > 1)
        and (band, doc_id) not in (select band, doc_id from {{ this }} where band in (select band from touched))
)
{%- else %}
unseen as (
    select distinct built_by from {{ ref('document_bands') }}
),

shared as (
    select * from banded where band in (select band from banded group by band having count(*) > 1)
)
{%- endif %}

select band, doc_id, n_chars, {{ cuvee.built_by() }} as built_by, cast(null as varchar) as seen
from shared
union all
select null, null, null, {{ cuvee.built_by() }}, built_by
from unseen
