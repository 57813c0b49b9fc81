{#  minhash_pairs(signatures, bands, rows): near duplicates as pairs. Two documents are near if their signatures agree in
    all rows of a band; with 14 bands of 9 rows that is likely above a Jaccard similarity of 0.7 of their shingles:
    probability 1 - (1 - s^rows)^bands for similarity s (0.13 at 0.6, 0.44 at 0.7, 0.67 at 0.75, 0.87 at 0.8).

    signatures is a relation with doc_id and signature, of at least bands * rows numbers; a document whose signature is
    NULL is near to none. Of documents that agree in a band, each is paired with the smallest doc_id only: enough to
    connect them, and linear in their number.
#}
{%- macro minhash_pairs(signatures, bands, rows) -%}
with banded as (
    select
        doc_id,
        band,
        signature[band * {{ rows }} + 1 : band * {{ rows }} + {{ rows }}] as part
    from {{ signatures }}, unnest(range({{ bands }})) as every(band)
    where case
        when len(signature) < {{ bands * rows }} then error(
            'minhash_pairs: {{ bands }} bands of {{ rows }} rows need signatures of {{ bands * rows }} numbers'
        )
        else signature is not null
    end
),

shared as (
    select band, part, min(doc_id) as first_id
    from banded
    group by band, part
    having count(*) > 1
)

select distinct banded.doc_id, shared.first_id
from banded
join shared on shared.band = banded.band and shared.part = banded.part
where banded.doc_id != shared.first_id
{%- endmacro -%}


{#  connected_components(pairs, left, right): what is connected by pairs, directly or over others. One row per node that
    is in a pair: node, component, where component is the smallest node that it is connected with.

    Each node follows the smallest of its neighbours. In a round, the neighbours of a node that changed are told whom it
    follows now, and so is whom they follow; and all that follow it follow with it. Whole followings move at once, so
    long chains take far fewer rounds than they have nodes.
#}
{%- macro connected_components(pairs, left, right) -%}
with recursive both_ways as (
    select {{ left }} as near, {{ right }} as node from {{ pairs }}
    union
    select {{ right }} as near, {{ left }} as node from {{ pairs }}
),

reached(node, component) using key (node) as (
    select node, min(least(node, near)) as component
    from both_ways
    group by node
    union
    select proposed.node, min(proposed.component) as component
    from (
        select unnest([met.node, met.component]) as node, reached.component
        from reached
        join both_ways on both_ways.near = reached.node
        join recurring.reached as met on met.node = both_ways.node
        where reached.component < met.component
        union all
        select follower.node, reached.component
        from reached
        join recurring.reached as follower on follower.component = reached.node
    ) as proposed
    join recurring.reached as known on known.node = proposed.node
    where proposed.component < known.component
    group by proposed.node
)

select node, component from reached
{%- endmacro -%}
