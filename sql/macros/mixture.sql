{#  Mixtures: which documents, how often, so that components get their shares of the tokens.

        {{ cuvee.mixture(pool=ref('pool'), shares={'code': 0.6, 'prose': 0.4}, tokens=2000000, seed=17,
                   max_epochs=4, shortfall='fail') }}

    pool        relation with doc_id, component, n_tokens; held-out documents already absent
    shares      component → share, normalised over all components (nine decimals count); or a relation with the columns
                component and share
    tokens      tokens of the whole mixture: a number, a scalar SQL expression, or 'all': as many as there are when no
                document is seen twice. Then the component that is scarcest for its share is used up and the others get
                their shares beside it; with shortfall='spill' every component is used up, whatever its share.
    seed        orders the documents of a component by md5(seed || ':' || doc_id), then doc_id
    max_epochs  greatest number of times a component is seen, for all or as component → number
                (six decimals count; a component that the mapping does not name gets one epoch)
    shortfall   what happens if a component has fewer than its tokens: 'fail', or 'spill' the rest over the components
                that are not at their cap, by share; if all are, spill fails too
    budget,     in place of tokens: the tokens of a whole training (a number or an expression) and which part of it
    window      this mixture is, 0.2 for the last fifth (nine decimals count; whole tokens, rounded down)
    components  component → a condition on the pool's columns, or a relation with the doc_ids; the pool then needs no
                column component. One that has no share is told apart, and left out.
    overlap     what happens to a document that is in several components. 'first': it is of the first of `components`
                (without these, of `shares`; if that is a relation, the one whose row in the pool has the lowest
                `position`). 'error': the build fails and names it. 'all': it is in each, see mixture_overlap.sql.
                With components 'first' unless told; without, the pool's rows are taken as they are.
    leave_out   a component to leave out: the documents it would have had are in no other component either
    freed       who gets its share: 'proportionally' all others, or the component named

    Rows: doc_id, component, copies (1 or more), n_tokens.

    Let D be the tokens a component has and T its target. Every document gets floor(T / D) copies, and the documents
    first in order get one more, cut where the total comes nearest to T (at a tie, the fewer tokens; documents without
    tokens are in if they come before T). So the same seed with more tokens gives a superset. All arithmetic is on
    integers: shares are in units of 1e-9, epochs of 1e-6, and fractions are compared crosswise, so no result depends on
    rounding, on threads or on the order of rows.
#}
{%- macro mixture(pool, shares, tokens=none, seed=17, max_epochs=1, shortfall='fail',
        budget=none, window=none, components=none, overlap=none, leave_out=none, freed='proportionally') -%}
with
{{ cuvee.mixture_targets(pool, shares, tokens, max_epochs, shortfall, seed, budget, window, components, overlap,
    leave_out, freed) }}
{%- if overlap != 'all' %},
-- Only the documents around the cut are put in order: of the parts before it all are in, of those behind it none.
mixture_edge as (
    select
        mixture_target.place,
        sums.part,
        sums.tokens_so_far - sums.tokens as tokens_before
    from (
        select
            place,
            part,
            tokens,
            sum(tokens) over (
                partition by place order by part rows between unbounded preceding and current row
            ) as tokens_so_far
        from mixture_parts
    ) as sums
    join mixture_target on mixture_target.place = sums.place
    where (sums.tokens_so_far - sums.tokens) * mixture_target.divisor < mixture_target.part_of_an_epoch
        and mixture_target.part_of_an_epoch <= sums.tokens_so_far * mixture_target.divisor
),
mixture_order as (
    select
        mixture_pool.doc_id,
        mixture_pool.place,
        mixture_pool.n_tokens,
        mixture_edge.tokens_before + sum(mixture_pool.n_tokens) over (
            partition by mixture_pool.place
            order by md5('{{ seed }}:' || mixture_pool.doc_id), mixture_pool.doc_id
            rows between unbounded preceding and current row
        ) as tokens_so_far
    from mixture_pool
    join mixture_edge on mixture_edge.place = mixture_pool.place
    where mixture_edge.part = mixture_pool.part
),
mixture_copies as (
    select
        mixture_pool.doc_id,
        whole.component,
        mixture_pool.n_tokens,
        whole.whole_epochs + case when mixture_pool.part < whole.edge then 1 else 0 end as copies
    from mixture_pool
    join (
        select
            mixture_target.component,
            mixture_target.place,
            mixture_target.whole_epochs,
            coalesce(mixture_edge.part, '') as edge
        from mixture_target
        left join mixture_edge on mixture_edge.place = mixture_target.place
    ) as whole on whole.place = mixture_pool.place
    where whole.edge != mixture_pool.part
    union all
    select
        mixture_order.doc_id,
        mixture_target.component,
        mixture_order.n_tokens,
        -- The cut after this document is nearer to the target than the cut before it: its middle lies before the target.
        mixture_target.whole_epochs + case
            when (2 * mixture_order.tokens_so_far - mixture_order.n_tokens) * mixture_target.divisor
                < 2 * mixture_target.part_of_an_epoch
            then 1 else 0
        end as copies
    from mixture_order
    join mixture_target on mixture_target.place = mixture_order.place
)
{%- endif %}
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
{%- macro mixture_report(mixture, pool, shares, tokens=none, seed=17, max_epochs=1, shortfall='fail',
        budget=none, window=none, components=none, overlap=none, leave_out=none, freed='proportionally') -%}
with
{{ cuvee.mixture_targets(pool, shares, tokens, max_epochs, shortfall, seed, budget, window, components, overlap,
    leave_out, freed) }},
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
{%- macro mixture_targets(pool, shares, tokens, max_epochs, shortfall, seed=17, budget=none, window=none,
        components=none, overlap=none, leave_out=none, freed='proportionally') -%}
{{- cuvee.mixture_arguments(shares, tokens, shortfall, budget, window, components, overlap, leave_out, freed) -}}
{#- A relation passes for a mapping, too. -#}
{%- set listed = shares is mapping and shares.identifier is not string -%}
{%- set all_once = tokens == 'all' -%}
mixture_asked (component, weight, epochs, place) as (
    {%- if listed %}
    values
    {%- for component, share in shares.items() if component != leave_out %}
        {%- set epochs = (max_epochs.get(component, 1) if max_epochs is mapping else max_epochs) | float %}
    (
        {{ cuvee.mixture_text(component) }},
        cast({{ cuvee.mixture_weight(share, shares[leave_out] if leave_out is not none and component == freed else 0) }} as hugeint),
        cast({{ ((([epochs, 1] | min if all_once else epochs)) * 1000000) | round | int }} as hugeint),
        cast({{ loop.index }} as integer)
    ){{ "," if not loop.last }}
    {%- endfor %}
    {%- else %}
    select
        component,
        case
            when count(*) over (partition by component) > 1
            then error('mixture: the shares name component ' || component || ' twice')
            when not share >= 0 or share is null
            then error('mixture: the share of ' || component || ' is not 0 or more')
            else cast(round(share * 1000000000) as hugeint)
        end
        {%- if leave_out is not none and freed != 'proportionally' %}
        + case when component = {{ cuvee.mixture_text(freed) }} then (
            select cast(round(share * 1000000000) as hugeint) from {{ shares }}
            where component = {{ cuvee.mixture_text(leave_out) }}
        ) else 0 end
        {%- endif %},
        cast(
            {%- if max_epochs is mapping %} case component
            {%- for component, epochs in max_epochs.items() %} when {{ cuvee.mixture_text(component) }} then
                {{- ' ' ~ ((([epochs | float, 1] | min if all_once else epochs | float)) * 1000000) | round | int }}
            {%- endfor %} else 1000000 end
            {%- else %} {{ ((([max_epochs | float, 1] | min if all_once else max_epochs | float)) * 1000000) | round | int }}
            {%- endif %} as hugeint),
        cast(row_number() over (order by component) as integer)
    from {{ shares }}
    {%- if leave_out is not none %}
    where case when (select count(*) from {{ shares }} where component in (
                {{- cuvee.mixture_text(leave_out) }}{% if freed != 'proportionally' %}, {{ cuvee.mixture_text(freed) }}{% endif -%}
            )) = {{ 1 if freed == 'proportionally' else 2 }}
        then component != {{ cuvee.mixture_text(leave_out) }}
        else error('mixture: leave_out or freed is no component of the shares') end
    {%- endif %}
    {%- endif %}
),
{%- if overlap == 'first' and not components %}
-- Documents that stand in several rows, and those whose hash is the same: the others need no comparing.
mixture_twice as materialized (
    select hash(doc_id) as doc_hash
    from {{ cuvee.mixture_placed(pool, shares, listed) }} as placed
    group by hash(doc_id)
    having count(*) > 1
),
{%- endif %}
mixture_pool as materialized (
    select
        told.doc_id,
        {{ "told.component," if overlap == 'all' }}
        asked.place,
        case when told.n_tokens >= 0 then told.n_tokens
            else error('mixture: document ' || told.doc_id || ' of component ' || told.component || ' has no token count')
        end as n_tokens,
        left(md5('{{ seed }}:' || told.doc_id), 3) as part
    from {{ cuvee.mixture_documents(pool, shares, listed, components, overlap, leave_out) }} as told
    join mixture_asked as asked on asked.component = told.component
),
mixture_parts as (
    select place, part, count(*) as documents, sum(n_tokens) as tokens
    from mixture_pool
    group by place, part
),
mixture_available as (
    select place, cast(sum(documents) as bigint) as documents, sum(tokens) as available
    from mixture_parts
    group by place
),
mixture_total as (
    {%- if all_once %}
    select case
        {%- if shortfall == 'fail' %}
        when min(cap) > 0 then min((cap * total_weight + weight * 1000000 - 1) // (weight * 1000000))
        else error('mixture: tokens=''all'' needs documents of every component, and there are none of '
            || string_agg(component, ', ' order by component) filter (cap = 0)
            || '. Leave them out of the shares, or set shortfall=''spill''')
        {%- else %}
        when sum(cap) > 0 then cast((sum(cap) + 999999) // 1000000 as hugeint)
        else error('mixture: the pool has no documents of any component')
        {%- endif %}
        end as tokens
    from (
        select
            mixture_asked.component,
            mixture_asked.weight,
            sum(mixture_asked.weight) over () as total_weight,
            cast(coalesce(mixture_available.available, 0) as hugeint) * mixture_asked.epochs as cap
        from mixture_asked
        left join mixture_available on mixture_available.place = mixture_asked.place
        where mixture_asked.weight > 0
    ) as caps
    {%- elif budget is not none %}
    select cast({{ budget }} as hugeint) * {{ ((window | float) * 1000000000) | round | int }} // 1000000000 as tokens
    {%- else %}
    select cast({{ tokens }} as hugeint) as tokens
    {%- endif %}
),
{%- if overlap == 'all' %}
{{ cuvee.mixture_overlapping(shares, max_epochs, shortfall, seed, leave_out, freed) }}
{%- else %}
mixture_caps as (
    select
        mixture_asked.component,
        mixture_asked.place,
        mixture_asked.weight,
        mixture_asked.epochs,
        coalesce(mixture_available.documents, 0) as documents,
        cast(coalesce(mixture_available.available, 0) as hugeint) as available,
        cast(coalesce(mixture_available.available, 0) as hugeint) * mixture_asked.epochs as cap,
        mixture_total.tokens,
        mixture_total.tokens * mixture_asked.weight as asked,
        sum(mixture_asked.weight) over () as total_weight
    from mixture_asked
    cross join mixture_total
    left join mixture_available on mixture_available.place = mixture_asked.place
),
-- Tokens rise like water over components of width `weight` until each is at its cap. A component is at its cap if the
-- tokens are not used up when the water stands at that cap: sum over all of least(cap, level * weight) < tokens.
mixture_levels as (
    select
        here.component,
        {%- if all_once and shortfall == 'fail' %}
        -- The total was rounded up to a whole token: the scarcest component may be less than that short of its share.
        false as short,
        {%- else %}
        here.asked * 1000000 > here.cap * here.total_weight as short,
        {%- endif %}
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
            {%- if all_once %}
            {%- elif shortfall == 'fail' %}
            when mixture_levels.short then error(
                'mixture: component ' || mixture_caps.component || ' has too few tokens: asked '
                || cast(mixture_caps.asked // mixture_caps.total_weight as varchar) || ', available '
                || cast(mixture_caps.cap // 1000000 as varchar) || ' ('
                || cast(mixture_caps.available as varchar) || ' in ' || cast(mixture_caps.documents as varchar)
                || ' documents, at most ' || rtrim(rtrim(cast(mixture_caps.epochs / 1000000.0 as varchar), '0'), '.')
                || ' epochs' || case when mixture_caps.documents > 0 then '' else '; the pool has '
                || coalesce((
                    {%- if components %}
                    select string_agg(known.component, ', ' order by known.component)
                    from mixture_asked as known
                    join mixture_available on mixture_available.place = known.place
                    {%- else %}
                    select string_agg(distinct component, ', ' order by component) from {{ pool }}
                    {%- endif %}
                ), 'no rows')
                end || '). Lower its share or the tokens, raise max_epochs, or set shortfall=''spill'''
            )
            {%- else %}
            when mixture_level.open_weight = 0 and mixture_level.capped_tokens
                < mixture_caps.tokens * 1000000 then error(
                'mixture: all components together have too few tokens: asked '
                || cast(mixture_caps.tokens as varchar) || ', available '
                || cast(mixture_level.capped_tokens // 1000000 as varchar)
                || ' under max_epochs. Lower the tokens or raise max_epochs'
            )
            {%- endif %}
            when mixture_levels.capped then mixture_caps.cap
            else (mixture_caps.tokens * 1000000 - mixture_level.capped_tokens) * mixture_caps.weight
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
{%- endif %}
{%- endmacro -%}

{#  mixture_documents: the pool's documents with their components, as a subquery (doc_id, component, n_tokens). #}
{%- macro mixture_documents(pool, shares, listed, components, overlap, leave_out) -%}
(
    {%- if components and overlap == 'all' %}
    {%- for component in components if component in shares and component != leave_out %}
    select doc_id, {{ cuvee.mixture_text(component) }} as component, n_tokens from {{ pool }}
    where {{ cuvee.mixture_condition(components[component]) }}
        {%- if leave_out is not none %} and not coalesce({{ cuvee.mixture_condition(components[leave_out]) }}, false){% endif %}
    {{ "union all" if not loop.last }}
    {%- endfor %}
    {%- elif components %}
    select
        doc_id,
        case
            {%- if overlap == 'error' %}
            when 1 < {% for component, condition in components.items() -%}
                cast(coalesce({{ cuvee.mixture_condition(condition) }}, false) as integer){{ " + " if not loop.last }}
                {%- endfor %}
            then error('mixture: document ' || doc_id || ' is in several components: ' || concat_ws(', '
                {%- for component, condition in components.items() -%}
                , case when {{ cuvee.mixture_condition(condition) }} then {{ cuvee.mixture_text(component) }} end
                {%- endfor %}) || '. Make them disjoint, or set overlap to first or all')
            {%- endif %}
            {%- for component, condition in components.items() %}
            when {{ cuvee.mixture_condition(condition) }} then {{ cuvee.mixture_text(component) }}
            {%- endfor %}
        end as component,
        n_tokens
    from {{ pool }}
    {%- elif overlap == 'first' %}
    select doc_id, component, n_tokens
    from {{ cuvee.mixture_placed(pool, shares, listed) }} as alone
    where hash(doc_id) not in (select doc_hash from mixture_twice)
    union all
    {#- An aggregate, because a window would have as many partitions as there are documents. -#}
    {% set place = "position" if not listed else "place" %}
    select doc_id, arg_min(component, {{ place }}) as component, arg_min(n_tokens, {{ place }}) as n_tokens
    from {{ cuvee.mixture_placed(pool, shares, listed) }} as placed
    where hash(doc_id) in (select doc_hash from mixture_twice)
    group by doc_id
    {%- else %}
    select
        doc_id,
        {%- if overlap == 'error' %}
        case when count(*) over (partition by doc_id) > 1
            then error('mixture: document ' || doc_id || ' is in several components. Make them disjoint, or set overlap')
            else component end as component,
        {%- else %}
        component,
        {%- endif %}
        n_tokens
    from {{ pool }}
    where component in ({{ cuvee.mixture_names(shares, listed) }})
        {%- if leave_out is not none %}
        and doc_id not in (
            select doc_id from {{ pool }} where component = {{ cuvee.mixture_text(leave_out) }} and doc_id is not null
        )
        {%- endif %}
    {%- endif %}
)
{%- endmacro -%}

{#  The pool's rows that are of a component of the shares, with the place that decides between several of a document. #}
{%- macro mixture_placed(pool, shares, listed) -%}
(
    select *
        {%- if listed %}, case component
            {%- for name in shares %} when {{ cuvee.mixture_text(name) }} then {{ loop.index }}{% endfor %} end as place
        {%- endif %}
    from {{ pool }}
    where component in ({{ cuvee.mixture_names(shares, listed) }})
)
{%- endmacro -%}

{#  The names of all components of the shares, as the inside of IN (…). #}
{%- macro mixture_names(shares, listed) -%}
{%- if listed -%}
{%- for component in shares %}{{ cuvee.mixture_text(component) }}{{ ", " if not loop.last }}{% endfor -%}
{%- else -%}
select component from {{ shares }}
{%- endif -%}
{%- endmacro -%}

{%- macro mixture_text(value) -%}
'{{ value | string | replace("'", "''") }}'
{%- endmacro -%}

{#  A share in units of 1e-9, with the share of a component that was left out. #}
{%- macro mixture_weight(share, more=0) -%}
{{ ((share | float) * 1000000000) | round | int + ((more | float) * 1000000000) | round | int }}
{%- endmacro -%}

{%- macro mixture_condition(condition) -%}
{%- if condition is string -%}({{ condition }}){%- else -%}(doc_id in (select doc_id from {{ condition }})){%- endif -%}
{%- endmacro -%}

{#  An error of the project if the arguments make no sense, before any row is read. #}
{%- macro mixture_arguments(shares, tokens, shortfall, budget, window, components, overlap, leave_out, freed) -%}
{%- set listed = shares is mapping and shares.identifier is not string -%}
{%- if not shares or not (listed or shares is string or shares.identifier is string) -%}
    {{ exceptions.raise_compiler_error("mixture: shares names components: {'code': 0.6, 'prose': 0.4}, or a relation") }}
{%- endif -%}
{%- if listed -%}
{%- for component, share in shares.items() if not 0 <= share | float(-1) < 1000000000 -%}
    {{ exceptions.raise_compiler_error("mixture: the share of " ~ component ~ " is " ~ share ~ ", not 0 or more") }}
{%- endfor -%}
{%- for name in [leave_out, freed if freed != 'proportionally' else none] if name is not none and name not in shares -%}
    {{ exceptions.raise_compiler_error("mixture: the shares have no component " ~ name ~ "; they have " ~ shares | join(", ")) }}
{%- endfor -%}
{%- endif -%}
{%- if leave_out is not none and freed == leave_out -%}
    {{ exceptions.raise_compiler_error("mixture: " ~ freed ~ " is left out and cannot get its own share") }}
{%- endif -%}
{%- if leave_out is none and freed != 'proportionally' -%}
    {{ exceptions.raise_compiler_error("mixture: freed goes with leave_out") }}
{%- endif -%}
{%- if tokens is number and not tokens > 0 -%}
    {{ exceptions.raise_compiler_error("mixture: tokens is " ~ tokens ~ ", not 1 or more") }}
{%- endif -%}
{%- if (tokens is none) == (budget is none) or (budget is none) != (window is none) -%}
    {{ exceptions.raise_compiler_error("mixture: say tokens, or budget and window: budget=1000000000000, window=0.2") }}
{%- endif -%}
{%- if budget is not none and not 0 < window | float(0) <= 1 -%}
    {{ exceptions.raise_compiler_error("mixture: window is " ~ window ~ ", not a part of the budget: above 0, at most 1") }}
{%- endif -%}
{%- if shortfall not in ('fail', 'spill') -%}
    {{ exceptions.raise_compiler_error("mixture: shortfall is 'fail' or 'spill', not '" ~ shortfall ~ "'") }}
{%- endif -%}
{%- if overlap not in (none, 'first', 'error', 'all') -%}
    {{ exceptions.raise_compiler_error("mixture: overlap is 'first', 'error' or 'all', not '" ~ overlap ~ "'") }}
{%- endif -%}
{%- if overlap == 'all' and (tokens == 'all' or not listed) -%}
    {{ exceptions.raise_compiler_error("mixture: overlap='all' needs shares by name, and tokens as a number or an expression") }}
{%- endif -%}
{%- if components and listed -%}
{%- for component in shares if component not in components -%}
    {{ exceptions.raise_compiler_error(
        "mixture: " ~ component ~ " has a share but no condition; components has " ~ components | join(", ")) }}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
