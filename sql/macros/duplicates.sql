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

    Large-star and small-star in turn (Kiveris and others 2014, "Connected Components in MapReduce and Beyond"): every node
    is hung on the smallest one that its parents know, then its parents on the smallest of them. That ends with a star for
    each component. A star is done when its leaves hang on nothing else and nothing hangs on them; only the rest goes
    into the next round, and a shuffled chain of a million nodes takes some twenty.
#}
{%- macro connected_components(pairs, left, right) -%}
with recursive hung(child, parent, done) as (
    select distinct greatest({{ left }}, {{ right }}), least({{ left }}, {{ right }}), false
    from {{ pairs }}
    where {{ left }} != {{ right }}
    union all
    (
        with large_star as (
            select distinct hung.child, coalesce(higher.parent, hung.parent) as parent
            from hung
            left join (select child, min(parent) as parent from hung where not done group by child) as higher
                on higher.child = hung.parent
            where not hung.done
        ),

        smallest as (
            select child, parent, min(parent) over (partition by child) as top from large_star
        ),

        small_star as (
            select child, top as parent from smallest
            union
            select parent, top from smallest where parent != top
        ),

        counted as (
            select child, parent, count(*) over (partition by child) as parents from small_star
        )

        select
            counted.child,
            counted.parent,
            bool_and(counted.parents = 1 and above.child is null and below.parent is null)
                over (partition by counted.parent)
        from counted
        left join (select distinct child from small_star) as above on above.child = counted.parent
        left join (select distinct parent from small_star) as below on below.parent = counted.child
    )
)

select nodes.node, coalesce(hung.parent, nodes.node) as component
from (select {{ left }} as node from {{ pairs }} union select {{ right }} from {{ pairs }}) as nodes
left join hung on hung.child = nodes.node and hung.done
{%- endmacro -%}
