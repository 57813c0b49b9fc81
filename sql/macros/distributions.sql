{#  label_cells(labelled, by=['labeler'], measures={'documents': 'count(*)'}): how often each combination of primary and
    secondary code occurs in each category, from one pass over all of them.

        select * from ({{ cuvee.label_cells(ref('current_labels')) }})

    labelled     relation with the columns of current_labels, and what `by` and the measures name
    measures     name → aggregate; they must add up: what follows adds cells

    Rows: by…, category, "primary", secondary, measures…. FDC (free_decimal_correspondence) counts by the first three
    characters of its codes.
#}
{%- macro label_cells(labelled, by=['labeler'], measures={'documents': 'count(*)'}) -%}
{%- set categories = cuvee.eai_categories() -%}
select
    {% for key in by %}{{ key }}, {% endfor %}
    case
        {%- for category in categories %}
        when grouping(p{{ loop.index }}) = 0 then '{{ category }}'
        {%- endfor %}
    end as category,
    coalesce({% for _ in categories %}p{{ loop.index }}{{ ', ' if not loop.last }}{% endfor %}) as "primary",
    coalesce({% for _ in categories %}s{{ loop.index }}{{ ', ' if not loop.last }}{% endfor %}) as secondary,
    {% for name, measure in measures.items() -%}
    {{ measure }} as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
from (
    select *,
        {% for category in categories -%}
        {%- if category == 'free_decimal_correspondence' -%}
        left(free_decimal_correspondence.primary, 3) as p1,
        left(free_decimal_correspondence.secondary, 3) as s1,
        {% else -%}
        {{ category }}.primary as p{{ loop.index }},
        {{ category }}.secondary as s{{ loop.index }}{{ ',' if not loop.last }}
        {% endif -%}
        {%- endfor %}
    from {{ labelled }}
) as coded
group by grouping sets (
    {%- for _ in categories %}
    ({% for key in by %}{{ key }}, {% endfor %}p{{ loop.index }}, s{{ loop.index }}){{ ',' if not loop.last }}
    {%- endfor %}
)
{%- endmacro -%}


{#  by_facet(cells, by, measures): cells of label_cells by facets: FDC's cells count at each of its three levels. A
    secondary that has the class of its primary is none.

    Rows: by…, category, "primary", secondary, measures….
#}
{%- macro by_facet(cells, by=['labeler'], measures=['documents']) -%}
select {% for key in by %}{{ key }}, {% endfor %}category, "primary", secondary,
    {{ measures | join(', ') }}
from {{ cells }}
where category != 'free_decimal_correspondence'
{%- for level in (1, 2, 3) %}
union all
select {% for key in by %}{{ key }}, {% endfor %}'fdc_level_{{ level }}', "primary",
    nullif(secondary, "primary"),
    {% for measure in measures %}cast(sum({{ measure }}) as bigint) as {{ measure }}{{ ', ' if not loop.last }}{% endfor %}
from (
    select * replace (
        {{ cuvee.fdc_class('"primary"', level) }} as "primary",
        {{ cuvee.fdc_class('secondary', level) }} as secondary
    )
    from {{ cells }}
    where category = 'free_decimal_correspondence'
) as classes
group by all
{%- endfor %}
{%- endmacro -%}


{#  facet_labels(): the labels of all facets: category, code, label. A class without a name in FDC has none here. #}
{%- macro facet_labels() -%}
(
    select category, code, label from {{ ref('taxonomy') }} where category != 'free_decimal_correspondence'
    union all
    select 'fdc_level_' || level, code, label from {{ ref('fdc') }} where level <= 3
    union all
    select 'fdc_level_' || level, '-1', 'Abstain' from range(1, 4) as levels(level)
)
{%- endmacro -%}


{#  label_distribution(labelled, by=['labeler'], counted='documents'): how many documents and tokens every label has, by
    facet (the nine plain categories and FDC's three levels).

        {{ cuvee.label_distribution(ref('labelled_documents'), by=['labeler', 'quality']) }}

    labelled     relation with the columns of current_labels, n_tokens, and what `by` names
    counted      what its rows are called in the result

    Rows: by…, category, rank (primary or secondary), code, label, documents, share, tokens, token_share. Shares are of
    all rows with the same by…, so those of the primary labels sum to 1. A document without a primary label counts
    under code NULL. Tokens are those of documents whose tokens are counted.
#}
{%- macro label_distribution(labelled, by=['labeler'], counted='documents') -%}
{%- set keys = by | join(', ') -%}
with
distribution_cell as materialized (
    {{ cuvee.label_cells(labelled, by, {counted: 'count(*)', 'tokens': 'cast(coalesce(sum(n_tokens), 0) as bigint)'}) }}
),
distribution_facet as (
    {{ cuvee.by_facet('distribution_cell', by, [counted, 'tokens']) }}
),
distribution_total as (
    select {{ keys }}, sum({{ counted }}) as whole, sum(tokens) as whole_tokens
    from distribution_cell
    where category = 'document_type_v1'
    group by {{ keys }}
),
distribution_label as (
    select {{ keys }}, category, 'primary' as rank, "primary" as code, sum({{ counted }}) as n, sum(tokens) as tokens
    from distribution_facet
    group by all
    union all
    select {{ keys }}, category, 'secondary', secondary, sum({{ counted }}), sum(tokens)
    from distribution_facet
    where secondary is not null
    group by all
)
select
    {% for key in by %}found.{{ key }}, {% endfor %}
    found.category,
    found.rank,
    found.code,
    named.label,
    cast(found.n as bigint) as {{ counted }},
    found.n / total.whole as share,
    cast(found.tokens as bigint) as tokens,
    found.tokens / nullif(total.whole_tokens, 0) as token_share
from distribution_label as found
join distribution_total as total
    on {% for key in by %}total.{{ key }} is not distinct from found.{{ key }}{{ ' and ' if not loop.last }}{% endfor %}
left join {{ cuvee.facet_labels() }} as named on named.category = found.category and named.code = found.code
{%- endmacro -%}


{#  label_drift(before, after, by=[]): how a distribution of labels differs from another.

    before, after   relations with the columns of label_distribution's result, and what `by` names; one labeler for each by…

    Rows: by…, category, rank, code, label, share_before, share_after, difference, divergence: Jensen and Shannon's, of the
    category's shares in that rank, in bits: 0 where they are equal, 1 where they have no label in common.
#}
{%- macro label_drift(before, after, by=[]) -%}
{%- set keys %}{% for key in by %}{{ key }}, {% endfor %}{% endset -%}
with
drift_share as (
    select {{ keys }}category, rank, code, any_value(label) as label,
        cast(coalesce(sum(share_before), 0) as double) as share_before,
        cast(coalesce(sum(share_after), 0) as double) as share_after
    from (
        select {{ keys }}category, rank, code, label, share as share_before, null as share_after from {{ before }}
        union all
        select {{ keys }}category, rank, code, label, null, share from {{ after }}
    ) as shares
    group by {{ keys }}category, rank, code
),
drift_part as (
    select *,
        share_before / nullif(sum(share_before) over whole, 0) as p,
        share_after / nullif(sum(share_after) over whole, 0) as q
    from drift_share
    window whole as (
        partition by {{ keys }}category, rank order by code rows between unbounded preceding and unbounded following
    )
)
select {{ keys }}category, rank, code, label, share_before, share_after, share_after - share_before as difference,
    sum(
        case when p > 0 then p * log2(2 * p / (p + q)) else 0 end / 2
        + case when q > 0 then q * log2(2 * q / (p + q)) else 0 end / 2
    ) over (
        partition by {{ keys }}category, rank order by code rows between unbounded preceding and unbounded following
    ) as divergence
from drift_part
{%- endmacro -%}


{#  label_samples(labelled, documents, seed, by=['labeler']): some documents of every primary label, those whose md5(seed
    || ':' || doc_id) comes first. One pass.

    Rows: by…, category, code, place (1 is the first), doc_id.
#}
{%- macro label_samples(labelled, documents, seed, by=['labeler']) -%}
{%- set keys %}{% for key in by %}{{ key }}, {% endfor %}{% endset -%}
select {{ keys }}category, code, unnest(range(1, len(doc_ids) + 1)) as place, unnest(doc_ids) as doc_id
from (
    select {{ keys }}
        case
            {%- for facet in cuvee.facets() %}
            when grouping(c{{ loop.index }}) = 0 then '{{ facet }}'
            {%- endfor %}
        end as category,
        coalesce({% for _ in cuvee.facets() %}c{{ loop.index }}{{ ', ' if not loop.last }}{% endfor %}) as code,
        arg_min(doc_id, md5('{{ seed }}:' || doc_id), {{ documents }}) as doc_ids
    from (
        select {{ keys }}doc_id,
            {% for facet in cuvee.facets() -%}
            {{ cuvee.code_of(facet, 'primary') }} as c{{ loop.index }}{{ ',' if not loop.last }}
            {% endfor %}
        from {{ labelled }}
    ) as coded
    group by grouping sets (
        {%- for _ in cuvee.facets() %}
        ({{ keys }}c{{ loop.index }}){{ ',' if not loop.last }}
        {%- endfor %}
    )
) as drawn
{%- endmacro -%}
