{#  held_out(key, share, seed): a boolean expression, true for about `share` of the keys.

    Documents with equal keys fall on the same side, so choose a key that keeps near-duplicates together: a package, a
    site, a duplicate cluster. The choice depends on nothing but seed and key, and a larger share with the same seed
    holds out everything that a smaller one does. A NULL key is never held out.

        where not {{ cuvee.held_out('package', share=0.05, seed=17) }}
#}
{%- macro held_out(key, share, seed) -%}
{%- if share >= 1 -%}
(({{ key }}) is not null)
{%- elif share <= 0 -%}
false
{%- else -%}
coalesce(left(md5('{{ seed }}:' || cast({{ key }} as varchar)), 15) < '{{ "%015x" | format((share * 2 ** 60) | round | int) }}', false)
{%- endif -%}
{%- endmacro -%}

{#  with_split(pool, share): a pool's rows and columns, with `split`: train, held_out or neither.

        select * from ({{ cuvee.with_split(ref('pool'), share={'code': 0.01, 'prose': 0.05}) }}) where split = 'train'

    share     of the keys that is held out: for all, or as component → share (the pool's column component; a component
              that the mapping does not name has none held out)
    key       an expression on the pool's columns. Without it the documents' clusters of near duplicates, from `clusters`
              (doc_id, cluster_id), the model duplicate_clusters unless told; a document that is not there is its own.

    Where components have different shares, a key may be held out in one and not in another. What is of that key and not
    held out is `neither`, so that nothing is trained on that resembles what is measured.
#}
{%- macro with_split(pool, share, seed=17, key=none, clusters=none) -%}
select
    split_pool.* exclude (split_key),
    case
        {%- if share is mapping %}
        when {{ cuvee.held_out_by_component(share, seed) }} then 'held_out'
        when {{ cuvee.held_out('split_key', share=share.values() | map('float') | max, seed=seed) }}
            and bool_or({{ cuvee.held_out_by_component(share, seed) }}) over (partition by split_key) then 'neither'
        {%- else %}
        when {{ cuvee.held_out('split_key', share=share, seed=seed) }} then 'held_out'
        {%- endif %}
        else 'train'
    end as split
from (
    {%- if key is not none %}
    select *, {{ key }} as split_key
    from {{ pool }}
    {%- else %}
    select told.*, coalesce(clusters.cluster_id, told.doc_id) as split_key
    from {{ pool }} as told
    left join {{ clusters or ref('duplicate_clusters') }} as clusters on clusters.doc_id = told.doc_id
    {%- endif %}
) as split_pool
{%- endmacro -%}

{%- macro held_out_by_component(shares, seed) -%}
case component
    {%- for component, share in shares.items() %} when {{ cuvee.mixture_text(component) }} then {{ cuvee.held_out('split_key', share=share, seed=seed) }}
    {%- endfor %} else false end
{%- endmacro -%}
