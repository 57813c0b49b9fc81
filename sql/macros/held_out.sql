{#  held_out(key, share, seed): a boolean expression, true for about `share` of the keys.

    Documents with equal keys fall on the same side, so choose a key that keeps near-duplicates together: a package, a
    site, a duplicate cluster. The choice depends on nothing but seed and key, and a larger share with the same seed
    holds out everything that a smaller one does. A NULL key is never held out.

        where not {{ held_out('package', share=0.05, seed=17) }}
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
