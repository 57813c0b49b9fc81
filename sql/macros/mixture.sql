{#  Mixtures: which documents, how often, so that components get their shares of the tokens.

        {{ mixture(pool=ref('pool'), shares={'code': 0.6, 'prose': 0.4}, tokens=2000000, seed=17,
                   max_epochs=4, shortfall='fail') }}

    pool        relation with doc_id, component, n_tokens; held-out documents already absent
    shares      component → share, normalised over all components (nine decimals count)
    tokens      tokens of the whole mixture: a number or a scalar SQL expression
    seed        orders the documents of a component by md5(seed || ':' || doc_id), then doc_id
    max_epochs  greatest number of times a component is seen, for all or as component → number
                (six decimals count; a component that the mapping does not name gets one epoch)
    shortfall   what happens if a component has fewer than its tokens: 'fail', or 'spill' the rest over the components
                that are not at their cap, by share; if all are, spill fails too

    Rows: doc_id, component, copies (1 or more), n_tokens.

    Let D be the tokens a component has and T its target. Every document gets floor(T / D) copies, and the documents
    first in order get one more, cut where the total comes nearest to T (at a tie, the fewer tokens; documents without
    tokens are in if they come before T). So the same seed with more tokens gives a superset. All arithmetic is on integers: shares are in units of 1e-9, epochs of 1e-6, and
    fractions are compared crosswise, so no result depends on rounding, on threads or on the order of rows.
#}
{%- macro mixture(pool, shares, tokens, seed=17, max_epochs=1, shortfall='fail') -%}
with
{{ mixture_targets(pool, shares, tokens, max_epochs, shortfall) }},
mixture_order as (
    select
        doc_id,
        component,
        n_tokens,
        sum(n_tokens) over (
            partition by component
            order by md5('{{ seed }}:' || doc_id), doc_id
            rows between unbounded preceding and current row
        ) as tokens_so_far
    from mixture_pool
),
mixture_copies as (
    select
        mixture_order.doc_id,
        mixture_order.component,
        mixture_order.n_tokens,
        -- The cut after this document is nearer to the target than the cut before it: its middle lies before the target.
        mixture_target.whole_epochs + case
            when (2 * mixture_order.tokens_so_far - mixture_order.n_tokens) * mixture_target.divisor
                < 2 * mixture_target.part_of_an_epoch
            then 1 else 0
        end as copies
    from mixture_order
    join mixture_target on mixture_target.component = mixture_order.component
)
select doc_id, component, cast(copies as bigint) as copies, cast(n_tokens as bigint) as n_tokens
from mixture_copies
where copies >= 1
union all
-- Never a row: it makes a shortfall fail even where no component has a document and the join above is skipped.
select cast(null as varchar), component, cast(null as bigint), cast(null as bigint)
from mixture_target
where target < 0
{%- endmacro -%}

{#  mixture_report(mixture=ref('baseline'), …the same arguments…): asked against got, one row per component.

    Rows: component, share_asked, share_got, tokens_asked, tokens_available, tokens_got, epochs, documents_available,
    documents, copies, shortfall (tokens asked by share but not to be had under the cap; 0 where there is enough) and
    cause (what the shortfall comes from; NULL without one).
#}
{%- macro mixture_report(mixture, pool, shares, tokens, seed=17, max_epochs=1, shortfall='fail') -%}
with
{{ mixture_targets(pool, shares, tokens, max_epochs, shortfall) }},
mixture_got as (
    select component, sum(n_tokens * copies) as tokens, count(*) as documents, sum(copies) as copies
    from {{ mixture }}
    group by component
)
select
    mixture_target.component,
    cast(mixture_target.weight as double) / sum(mixture_target.weight) over () as share_asked,
    cast(coalesce(mixture_got.tokens, 0) as double)
        / nullif(sum(coalesce(mixture_got.tokens, 0)) over (), 0) as share_got,
    cast(mixture_target.asked // mixture_target.total_weight as bigint) as tokens_asked,
    cast(mixture_target.available as bigint) as tokens_available,
    cast(coalesce(mixture_got.tokens, 0) as bigint) as tokens_got,
    cast(coalesce(mixture_got.tokens, 0) as double) / nullif(mixture_target.available, 0) as epochs,
    mixture_target.documents as documents_available,
    coalesce(mixture_got.documents, 0) as documents,
    cast(coalesce(mixture_got.copies, 0) as bigint) as copies,
    cast(case when mixture_target.short
        then mixture_target.asked // mixture_target.total_weight - mixture_target.cap // 1000000 else 0 end as bigint
    ) as shortfall,
    case
        when not mixture_target.short then null
        when mixture_target.available = 0 then 'the pool has no documents of this component'
        else 'max_epochs ' || rtrim(rtrim(cast(mixture_target.epochs / 1000000.0 as varchar), '0'), '.')
    end as cause
from mixture_target
left join mixture_got on mixture_got.component = mixture_target.component
order by mixture_target.weight desc, mixture_target.component
{%- endmacro -%}

{#  The common part: from shares to a target per component, as exact fractions.

    mixture_target: component, weight (1e-9 of a share), epochs (1e-6 of an epoch), documents, available (tokens), cap
    (1e-6 of a token), short (the share asks more than the cap), asked / total_weight (tokens asked), and the target:
    whole_epochs of all documents, then part_of_an_epoch / divisor tokens more.
#}
{%- macro mixture_targets(pool, shares, tokens, max_epochs, shortfall) -%}
{%- if shares is not mapping or not shares -%}
    {{ exceptions.raise_compiler_error("mixture: shares names components: {'code': 0.6, 'prose': 0.4}") }}
{%- endif -%}
{%- for component, share in shares.items() if not 0 <= share | float(-1) < 1000000000 -%}
    {{ exceptions.raise_compiler_error("mixture: the share of " ~ component ~ " is " ~ share ~ ", not 0 or more") }}
{%- endfor -%}
{%- if tokens is number and not tokens > 0 -%}
    {{ exceptions.raise_compiler_error("mixture: tokens is " ~ tokens ~ ", not 1 or more") }}
{%- endif -%}
{%- if shortfall not in ('fail', 'spill') -%}
    {{ exceptions.raise_compiler_error("mixture: shortfall is 'fail' or 'spill', not '" ~ shortfall ~ "'") }}
{%- endif -%}
mixture_asked (component, weight, epochs) as (
    values
    {%- for component, share in shares.items() %}
        {%- set epochs = max_epochs.get(component, 1) if max_epochs is mapping else max_epochs %}
    (
        '{{ component | replace("'", "''") }}',
        cast({{ ((share | float) * 1000000000) | round | int }} as hugeint),
        cast({{ ((epochs | float) * 1000000) | round | int }} as hugeint)
    ){{ "," if not loop.last }}
    {%- endfor %}
),
mixture_pool as (
    select
        doc_id,
        component,
        case when n_tokens >= 0 then n_tokens
            else error('mixture: document ' || doc_id || ' of component ' || component || ' has no token count')
        end as n_tokens
    from {{ pool }}
    where component in (select component from mixture_asked)
),
mixture_available as (
    select component, count(*) as documents, sum(n_tokens) as available
    from mixture_pool
    group by component
),
mixture_caps as (
    select
        mixture_asked.component,
        mixture_asked.weight,
        mixture_asked.epochs,
        coalesce(mixture_available.documents, 0) as documents,
        cast(coalesce(mixture_available.available, 0) as hugeint) as available,
        cast(coalesce(mixture_available.available, 0) as hugeint) * mixture_asked.epochs as cap,
        cast({{ tokens }} as hugeint) * mixture_asked.weight as asked,
        sum(mixture_asked.weight) over () as total_weight
    from mixture_asked
    left join mixture_available on mixture_available.component = mixture_asked.component
),
-- Tokens rise like water over components of width `weight` until each is at its cap. A component is at its cap if the
-- tokens are not used up when the water stands at that cap: sum over all of least(cap, level * weight) < tokens.
mixture_levels as (
    select
        here.component,
        here.asked * 1000000 > here.cap * here.total_weight as short,
        here.weight > 0 and here.weight * sum(case when other.cap * here.weight <= here.cap * other.weight
                then other.cap else 0 end)
            + here.cap * sum(case when other.cap * here.weight <= here.cap * other.weight
                then 0 else other.weight end)
            < here.asked * 1000000 as capped
    from mixture_caps as here
    cross join mixture_caps as other
    where other.weight > 0
    group by here.component, here.weight, here.cap, here.asked, here.total_weight
),
mixture_level as (
    select
        sum(case when mixture_levels.capped then mixture_caps.cap else 0 end) as capped_tokens,
        sum(case when mixture_levels.capped then 0 else mixture_caps.weight end) as open_weight
    from mixture_caps
    join mixture_levels on mixture_levels.component = mixture_caps.component
),
mixture_fractions as (
    select
        mixture_caps.*,
        mixture_levels.short,
        case
            {%- if shortfall == 'fail' %}
            when mixture_levels.short then error(
                'mixture: component ' || mixture_caps.component || ' has too few tokens: asked '
                || cast(mixture_caps.asked // mixture_caps.total_weight as varchar) || ', available '
                || cast(mixture_caps.cap // 1000000 as varchar) || ' ('
                || cast(mixture_caps.available as varchar) || ' in ' || cast(mixture_caps.documents as varchar)
                || ' documents, at most ' || rtrim(rtrim(cast(mixture_caps.epochs / 1000000.0 as varchar), '0'), '.')
                || ' epochs' || case when mixture_caps.documents > 0 then '' else '; the pool has '
                || coalesce((select string_agg(distinct component, ', ' order by component) from {{ pool }}), 'no rows')
                end || '). Lower its share or the tokens, raise max_epochs, or set shortfall=''spill'''
            )
            {%- else %}
            when mixture_level.open_weight = 0 and mixture_level.capped_tokens
                < cast({{ tokens }} as hugeint) * 1000000 then error(
                'mixture: all components together have too few tokens: asked '
                || cast(cast({{ tokens }} as hugeint) as varchar) || ', available '
                || cast(mixture_level.capped_tokens // 1000000 as varchar)
                || ' under max_epochs. Lower the tokens or raise max_epochs'
            )
            {%- endif %}
            when mixture_levels.capped then mixture_caps.cap
            else (cast({{ tokens }} as hugeint) * 1000000 - mixture_level.capped_tokens) * mixture_caps.weight
        end as target,
        case when mixture_levels.capped then cast(1000000 as hugeint)
            else 1000000 * mixture_level.open_weight end as divisor
    from mixture_caps
    join mixture_levels on mixture_levels.component = mixture_caps.component
    cross join mixture_level
),
mixture_target as (
    select
        mixture_fractions.*,
        case when available = 0 then 0 else target // (available * divisor) end as whole_epochs,
        case when available = 0 then 0 else target % (available * divisor) end as part_of_an_epoch
    from mixture_fractions
)
{%- endmacro -%}
