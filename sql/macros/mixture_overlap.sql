{#  mixture(…, overlap='all'): a document may be in several components, and its epochs over all of them stay within the cap.

    Components take their tokens one after the other, in the order of `shares`. A component may give a document as many
    copies as its max_epochs (a whole number) less the copies that those before it gave. Its target is its share of the
    tokens that those before it did not get: rest * share / (its share and those of the components after it), in whole tokens,
    rounded down. Copies are dealt out epoch by epoch, in md5 order, to the documents that may have one more, and cut
    where the total comes nearest to the target, as in any mixture. What a component cannot have goes to those after it
    (shortfall='spill'), so scarce components stand first; the last one's shortfall fails.
#}
{%- macro mixture_overlapping(shares, max_epochs, shortfall, seed, leave_out, freed) -%}
{%- set names = shares | reject('equalto', leave_out) | list -%}
{%- set ns = namespace(total=0, rest=0) -%}
{%- for name in names -%}
    {%- set ns.total = ns.total + (cuvee.mixture_weight(shares[name], shares[leave_out] if name == freed and leave_out is not none else 0) | int) -%}
{%- endfor -%}
{%- set ns.rest = ns.total -%}
{%- for name in names -%}
{%- set here = loop.index -%}
{%- set weight = cuvee.mixture_weight(shares[name], shares[leave_out] if name == freed and leave_out is not none else 0) | int -%}
{%- set epochs = (max_epochs.get(name, 1) if max_epochs is mapping else max_epochs) | float -%}
{%- if epochs != epochs | int -%}
    {{ exceptions.raise_compiler_error("mixture: overlap='all' needs max_epochs in whole numbers, not " ~ epochs) }}
{%- endif %}
mixture_allowed_{{ here }} as (
    select
        mixture_pool.doc_id,
        mixture_pool.n_tokens,
        {{ epochs | int }}{{ " - coalesce(used.copies, 0)" if here > 1 }} as allowed
    from mixture_pool
    {%- if here > 1 %}
    left join (
        select doc_id, sum(copies) as copies
        from (
            {%- for before in range(1, here) %}
            select doc_id, copies from mixture_taken_{{ before }}{{ " union all" if not loop.last }}
            {%- endfor %}
        ) as taken
        group by doc_id
    ) as used on used.doc_id = mixture_pool.doc_id
    {%- endif %}
    where mixture_pool.component = {{ cuvee.mixture_text(name) }}
        and {{ epochs | int }}{{ " > coalesce(used.copies, 0)" if here > 1 else " > 0" }}
),
mixture_goal_{{ here }} as (
    select
        documents,
        available,
        cap,
        share,
        share > cap as short,
        case when share > cap
            {{- " and rest_after = 0" if shortfall == 'spill' }} then error(
                'mixture: component ' || {{ cuvee.mixture_text(name) }} || ' has too few tokens: asked '
                || cast(share as varchar) || ', available ' || cast(cap as varchar)
                || ' of what other components left, at most {{ epochs | int }} epochs. Lower its share or the tokens,'
                || ' raise max_epochs, or name it before components with more'
            )
            else least(share, cap) end as target,
        rest - least(share, cap) as rest
    from (
        select
            counted.*,
            before.rest,
            {{ ns.rest - weight }} as rest_after,
            {%- if weight == 0 %}
            cast(0 as hugeint) as share
            {%- else %}
            before.rest * {{ weight }} // {{ ns.rest }} as share
            {%- endif %}
        from (
            select
                count(*) as documents,
                cast(coalesce(sum(n_tokens), 0) as hugeint) as available,
                cast(coalesce(sum(n_tokens * allowed), 0) as hugeint) as cap
            from mixture_allowed_{{ here }}
        ) as counted
        cross join {% if here == 1 %}(select tokens as rest from mixture_total){% else %}mixture_goal_{{ here - 1 }}{% endif %} as before
    ) as sized
),
mixture_whole_{{ here }} as (
    select
        coalesce(max(case when tokens <= target and available > 0 then level end), 0) as level,
        max(target) - coalesce(max(case when tokens <= target and available > 0 then tokens end), 0) as part
    from (
        select levels.level, goal.target, goal.available,
            cast(sum(sizes.tokens * least(sizes.allowed, levels.level)) as hugeint) as tokens
        from mixture_goal_{{ here }} as goal
        cross join range(0, {{ epochs | int + 1 }}) as levels(level)
        cross join (select allowed, sum(n_tokens) as tokens from mixture_allowed_{{ here }} group by allowed) as sizes
        group by levels.level, goal.target, goal.available
    ) as filled
),
mixture_taken_{{ here }} as (
    select doc_id, {{ cuvee.mixture_text(name) }} as component, n_tokens, copies
    from (
        select
            doc_id,
            n_tokens,
            least(allowed, level) + case when allowed > level and (2 * tokens_so_far - n_tokens) < 2 * part
                then 1 else 0 end as copies
        from (
            select
                documents.doc_id, documents.n_tokens, documents.allowed, whole.level, whole.part,
                sum(case when documents.allowed > whole.level then documents.n_tokens else 0 end) over (
                    order by md5('{{ seed }}:' || documents.doc_id), documents.doc_id
                    rows between unbounded preceding and current row
                ) as tokens_so_far
            from mixture_allowed_{{ here }} as documents
            cross join mixture_whole_{{ here }} as whole
        ) as placed
    ) as given
    where copies >= 1
),
{%- set ns.rest = ns.rest - weight -%}
{%- endfor %}
mixture_copies as (
    {%- for name in names %}
    select doc_id, component, n_tokens, copies from mixture_taken_{{ loop.index }}{{ " union all" if not loop.last }}
    {%- endfor %}
),
mixture_target as (
    {%- for name in names %}
    select
        asked.component, asked.weight, asked.epochs, goal.documents, goal.available, goal.cap * 1000000 as cap,
        goal.short, goal.share * {{ [ns.total, 1] | max }} as asked, cast({{ [ns.total, 1] | max }} as hugeint) as total_weight,
        goal.target
    from mixture_asked as asked
    cross join mixture_goal_{{ loop.index }} as goal
    where asked.component = {{ cuvee.mixture_text(name) }}
    {{ "union all" if not loop.last }}
    {%- endfor %}
)
{%- endmacro -%}
