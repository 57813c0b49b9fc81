{#  minhash_bands(signature, bands, rows): a signature's bands of so many rows, as a list of numbers: equal bands have equal
    numbers, and a band's is never another place's but by chance. NULL for no signature.

    Documents that agree in a band are compared. That is likely above a Jaccard similarity of 0.7 of their shingles with
    14 bands of 9 rows: probability 1 - (1 - s^rows)^bands for similarity s (0.13 at 0.6, 0.44 at 0.7, 0.67 at 0.75, 0.87
    at 0.8). A number is the sum of the rows, each times a constant; the sum of `rows` products stays below 2^64.
#}
{%- macro minhash_bands(signature, bands, rows) -%}
{%- set below = 2 ** 32 // rows -%}
case
    when len({{ signature }}) < {{ bands * rows }} then error(
        'minhash_bands: {{ bands }} bands of {{ rows }} rows need signatures of {{ bands * rows }} numbers'
    )
    when {{ signature }} is not null then [
        {%- for band in range(bands) %}
        {% for row in range(rows) -%}
        {%- set place = band * rows + row + 1 -%}
        cast({{ signature }}[{{ place }}] as ubigint) * {{ place * 2654435761 % below // 2 * 2 + 1 if below > 1 else 1 }}
        {{- ' + ' if not loop.last }}
        {%- endfor -%}
        {{ ',' if not loop.last }}
        {%- endfor %}
    ]
end
{%- endmacro -%}


{#  signature_similarity(a, b): the share of places where two signatures agree, which estimates the Jaccard similarity of
    the texts' sets of shingles. Of 126 numbers, its standard deviation is 0.04 at a similarity of 0.7. #}
{%- macro signature_similarity(a, b) -%}
len(list_filter(list_zip({{ a }}, {{ b }}), lambda pair: pair[1] = pair[2])) / len({{ a }})
{%- endmacro -%}


{#  built_by(): a text that is the same for all rows of one build, and in no other build. Models whose rows are added
    tell by it which rows of another model they have not seen. A template's SQL is the same in all builds until it runs. #}
{%- macro built_by() -%}
'{{ invocation_id if execute else "" }}'
{%- endmacro -%}


{#  dropped_duplicates(pairs): which documents are dropped, one row each: doc_id, kept_doc_id. In every pair near_doc_id
    ranks before doc_id, so pairs make no circle. A document is kept unless one that ranks before it, and is kept itself,
    is its pair. So what is dropped resembles something that is kept, and nothing is dropped for what it does not resemble.

    In every round, what ranks before all that is left is kept, and its pairs are dropped. kept_doc_id is the smallest of
    the documents that did it in that round.
#}
{%- macro dropped_duplicates(pairs) -%}
with recursive judged(doc_id, near_doc_id, dropped) as (
    select doc_id, near_doc_id, false from {{ pairs }}
    union all
    (
        with undecided as (
            select doc_id, near_doc_id from judged where not dropped
        ),

        found as materialized (
            select doc_id, min(near_doc_id) as near_doc_id
            from undecided
            where near_doc_id not in (select doc_id from undecided)
            group by doc_id
        )

        select doc_id, near_doc_id, true from found
        union all
        select doc_id, near_doc_id, false
        from undecided
        where doc_id not in (select doc_id from found) and near_doc_id not in (select doc_id from found)
    )
)

select doc_id, near_doc_id as kept_doc_id
from judged
where dropped
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
