-- Documents that agree in a band of their signatures, compared. In a band of more than 50 documents each is compared with
-- the 50 that rank first: the longest, and of equally long ones those with the smallest ids. Whatever is compared depends
-- on the documents alone, not on how many builds they came in.
--
-- Rows that are not pairs hold counts. A document paired with itself is in such large bands, and `crowd` tells
-- whether these are still the same. A row with `seen` names rows of shared_bands that were looked at. A pair without similarity was one.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key=['doc_id', 'near_doc_id'],
    tags=['cuvee_function'],
) }}
with shared as (
    select band, doc_id, n_chars, built_by
    from {{ ref('shared_bands') }}
    where doc_id is not null
),

crowded as materialized (
    select
        band,
        doc_id,
        row_number() over (partition by band order by n_chars desc, doc_id) as place
    from shared
    where band in (select band from shared group by band having count(*) > 50)
),

crowds as materialized (
    select crowded.doc_id, bit_xor(bands.digest) as crowd
    from crowded
    join (
        select
            band,
            md5_number_lower(
                concat_ws(':', band, count(*), string_agg(doc_id, ':' order by place) filter (where place <= 50))
            ) as digest
        from crowded
        group by band
    ) as bands on bands.band = crowded.band
    group by crowded.doc_id
),
{% if is_incremental() %}
known as materialized (
    select * from {{ this }} where doc_id is not null
),

unseen as materialized (
    select distinct built_by
    from shared
    where built_by not in (select seen from {{ this }} where seen is not null)
),

moved as materialized (
    select coalesce(crowds.doc_id, before.doc_id) as doc_id, crowds.crowd
    from crowds
    full join (
        select doc_id, crowd from known where doc_id = near_doc_id and crowd is not null
    ) as before on before.doc_id = crowds.doc_id
    where crowds.crowd is distinct from before.crowd
),

due as materialized (
    select doc_id from shared where built_by in (select built_by from unseen)
    union
    select doc_id from moved
),

chosen as materialized (
    select * from shared where band in (select band from shared where doc_id in (select doc_id from due))
),
{%- else %}
unseen as (
    select distinct built_by from shared
),

moved as (
    select * from crowds
),

chosen as materialized (
    select * from shared
),
{%- endif %}

ranked as (
    select band, doc_id, row_number() over (partition by band order by n_chars desc, doc_id) as place
    from chosen
),

pairs as materialized (
    select distinct ranked.doc_id, first.doc_id as near_doc_id
    from ranked
    join ranked as first on first.band = ranked.band and first.place < ranked.place
    where first.place <= 50
    {%- if is_incremental() %}
        and (ranked.doc_id in (select doc_id from due) or first.doc_id in (select doc_id from due))
    {%- endif %}
),

signed as (
    select d.doc_id, minhash_signature(d.text, {{ var('minhash_bands') * var('minhash_rows') }}, {{ var('minhash_words') }}) as signature
    from {{ source('raw', 'documents') }} as d
    where d.doc_id in (select doc_id from chosen)
)

select
    pairs.doc_id,
    pairs.near_doc_id,
    {{ cuvee.signature_similarity('one.signature', 'other.signature') }} as similarity,
    cast(null as ubigint) as crowd,
    cast(null as varchar) as seen
from pairs
join signed as one on one.doc_id = pairs.doc_id
join signed as other on other.doc_id = pairs.near_doc_id
union all
select doc_id, doc_id, null, crowd, null
from moved
{%- if is_incremental() %}
union all
select doc_id, near_doc_id, null, null, null
from known
where similarity is not null
    and (doc_id in (select doc_id from moved) or near_doc_id in (select doc_id from moved))
    and (doc_id, near_doc_id) not in (select doc_id, near_doc_id from pairs)
{%- endif %}
union all
select null, null, null, null, built_by
from unseen
