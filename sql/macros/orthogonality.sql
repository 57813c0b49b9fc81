{#  category_cells(labelled, by=['labeler'], measures={'documents': 'count(*)'}, secondaries=false): how often the codes of
    any two categories meet in a document, from one pass over all pairs of categories.

        {{ cuvee.category_cells(ref('current_labels')) }}

    labelled     relation with the columns of current_labels, and what `by` and the measures name
    measures     name → aggregate; they must add up
    secondaries  false: primary codes only. true: also the secondary ones; the two ranks are then columns of the result

    Rows: by…, category_x, x, category_y, y, measures…; with secondaries rank_x and rank_y (primary, secondary), too.
    A pair of codes that a document has in both orders counts once for each. Every pair of facets occurs once, in the
    order of facets(). No code, and codes below zero (-1, Abstain), are left out.
#}
{%- macro category_cells(labelled, by=['labeler'], measures={'documents': 'count(*)'}, secondaries=false) -%}
{%- set categories = cuvee.eai_categories() -%}
{%- set ranks = ['p', 's'] if secondaries else ['p'] -%}
{%- set keys %}{% for key in by %}{{ key }}, {% endfor %}{% endset -%}
{%- set sums %}{% for name in measures %}cast(sum({{ name }}) as bigint) as {{ name }}{{ ', ' if not loop.last }}{% endfor %}{% endset -%}
with
met_row as (
    select *,
        {% for category in categories -%}
        {%- set number = loop.index -%}
        {%- for rank in ranks -%}
        {%- set code = category ~ ('.primary' if rank == 'p' else '.secondary') -%}
        {{ 'left(' ~ code ~ ', 3)' if number == 1 else code }} as {{ rank }}{{ number }},
        {% endfor -%}
        {%- endfor %}
        0 as nothing
    from {{ labelled }}
),
met_cell as materialized (
    select {{ keys }}
        {% for side in 'xy' -%}
        {%- for rank in ranks -%}
        case
            {%- for i in range(1, 11) %}{% for j in range(i + 1, 11) %}
            when grouping(p{{ i }}) + grouping(p{{ j }}) = 0 then {{ rank }}{{ i if side == 'x' else j }}
            {%- endfor %}{% endfor %}
        end as {{ rank }}_{{ side }},
        {% endfor -%}
        case
            {%- for i in range(1, 11) %}{% for j in range(i + 1, 11) %}
            when grouping(p{{ i }}) + grouping(p{{ j }}) = 0 then {{ i if side == 'x' else j }}
            {%- endfor %}{% endfor %}
        end as number_{{ side }},
        {% endfor -%}
        {% for name, measure in measures.items() -%}
        {{ measure }} as {{ name }}{{ ',' if not loop.last }}
        {%- endfor %}
    from met_row
    group by grouping sets (
        {%- for i in range(1, 11) %}{% for j in range(i + 1, 11) %}
        ({{ keys }}
            {%- for rank in ranks %}{{ rank }}{{ i }}, {{ rank }}{{ j }}{{ ', ' if not loop.last }}{% endfor -%}
        ){{ ',' if i < 9 }}
        {%- endfor %}{% endfor %}
    )
),
met_code as (
    {%- for rank_x in ranks %}{% for rank_y in ranks %}
    select {{ keys }}number_x, '{{ 'primary' if rank_x == 'p' else 'secondary' }}' as rank_x, {{ rank_x }}_x as x,
        number_y, '{{ 'primary' if rank_y == 'p' else 'secondary' }}' as rank_y, {{ rank_y }}_y as y, {{ sums }}
    from met_cell
    where coalesce({{ rank_x }}_x, '-') not like '-%' and coalesce({{ rank_y }}_y, '-') not like '-%'
    group by all
    {{ 'union all' if not (loop.last and rank_x == ranks[-1]) }}
    {%- endfor %}{% endfor %}
),
{#- FDC with itself: from its cells with the second category, which has every document, if only as NULL. #}
met_fdc as (
    {%- for rank_x in ranks %}{% for rank_y in ranks %}
    select {{ keys }}'{{ 'primary' if rank_x == 'p' else 'secondary' }}' as rank_x, {{ rank_x }}_x as x,
        '{{ 'primary' if rank_y == 'p' else 'secondary' }}' as rank_y, {{ rank_y }}_x as y, {{ sums }}
    from met_cell
    where number_x = 1 and number_y = 2
        and coalesce({{ rank_x }}_x, '-') not like '-%' and coalesce({{ rank_y }}_x, '-') not like '-%'
    group by all
    {{ 'union all' if not (loop.last and rank_x == ranks[-1]) }}
    {%- endfor %}{% endfor %}
),
met_facet as (
    select {{ keys }}categories[number_x - 1] as category_x, rank_x, x, categories[number_y - 1] as category_y, rank_y, y,
        {{ measures | join(', ') }}
    from met_code, (select [{% for name in cuvee.plain_categories() %}'{{ name }}'{{ ', ' if not loop.last }}{% endfor %}]) as named(categories)
    where number_x > 1
    {%- for level in (1, 2, 3) %}
    union all
    select {{ keys }}'fdc_level_{{ level }}', rank_x, {{ cuvee.fdc_class('x', level) }}, categories[number_y - 1], rank_y, y,
        {{ measures | join(', ') }}
    from met_code, (select [{% for name in cuvee.plain_categories() %}'{{ name }}'{{ ', ' if not loop.last }}{% endfor %}]) as named(categories)
    where number_x = 1
    {%- endfor %}
    {%- for level, other in ((1, 2), (1, 3), (2, 3)) %}
    union all
    select {{ keys }}'fdc_level_{{ level }}', rank_x, {{ cuvee.fdc_class('x', level) }}, 'fdc_level_{{ other }}', rank_y,
        {{ cuvee.fdc_class('y', other) }}, {{ measures | join(', ') }}
    from met_fdc
    {%- endfor %}
)
select {{ keys }}category_x, {{ 'rank_x, ' if secondaries }}x, category_y, {{ 'rank_y, ' if secondaries }}y, {{ sums }}
from met_facet
where x is not null and y is not null
group by all
{%- endmacro -%}


{#  nmi(cells, by=[], weight='documents'): normalised mutual information of two variables, 2 I(X;Y) / (H(X) + H(Y)), from
    counted pairs (arXiv 2506.14111, section 5.1.1).

        {{ cuvee.nmi(ref('label_cooccurrence'), by=['labeler', 'category_x', 'category_y']) }}

    cells        relation with x, y, what `by` names, and how often they meet
    weight       that column or expression, or its share

    Rows: by…, weight, entropy_x, entropy_y, mutual_information (bits), nmi. Two variables that never vary tell nothing of
    each other: 0.
#}
{%- macro nmi(cells, by=[], weight='documents') -%}
{%- set keys %}{% for key in by %}{{ key }}, {% endfor %}{% endset -%}
{%- set bits = '-sum(weight / whole * log2(weight / whole)' -%}
with
{{ cuvee.nmi_cells(cells, by, weight) }},
nmi_x as (
    select {{ keys }}{{ bits }} order by x) as entropy_x, any_value(whole) as whole
    from (select {{ keys }}x, whole, sum(weight order by y) as weight from nmi_cell group by all) as margin
    group by {{ keys }}true
),
nmi_y as (
    select {{ keys }}{{ bits }} order by y) as entropy_y
    from (select {{ keys }}y, whole, sum(weight order by x) as weight from nmi_cell group by all) as margin
    group by {{ keys }}true
),
nmi_xy as (
    select {{ keys }}{{ bits }} order by x, y) as entropy_xy
    from nmi_cell
    group by {{ keys }}true
)
select
    {% for key in by %}nmi_x.{{ key }}, {% endfor %}
    nmi_x.whole as weight,
    nmi_x.entropy_x,
    nmi_y.entropy_y,
    greatest(nmi_x.entropy_x + nmi_y.entropy_y - nmi_xy.entropy_xy, 0) as mutual_information,
    case
        when nmi_x.entropy_x + nmi_y.entropy_y > 0
        then greatest(2 * (nmi_x.entropy_x + nmi_y.entropy_y - nmi_xy.entropy_xy), 0)
            / (nmi_x.entropy_x + nmi_y.entropy_y)
        else 0.0
    end as nmi
from nmi_x
join nmi_y on true {%- for key in by %} and nmi_y.{{ key }} is not distinct from nmi_x.{{ key }}{% endfor %}
join nmi_xy on true {%- for key in by %} and nmi_xy.{{ key }} is not distinct from nmi_x.{{ key }}{% endfor %}
{%- endmacro -%}


{#  pointwise_nmi(cells, by=[], weight='documents'): how much two values attract each other: −log(p(x,y) / p(x) p(y)) /
    log p(x,y), 1 if one never goes without the other, 0 if they meet by chance, towards -1 if they avoid each other.

    Arguments as for nmi. Rows: by…, x, y, weight, share (p(x,y)), expected_share (p(x) p(y)), pointwise_nmi.
#}
{%- macro pointwise_nmi(cells, by=[], weight='documents') -%}
{%- set keys %}{% for key in by %}{{ key }}, {% endfor %}{% endset -%}
with
{{ cuvee.nmi_cells(cells, by, weight) }},
nmi_share as (
    select *,
        weight / whole as share,
        sum(weight) over (partition by {{ keys }}x order by y rows between unbounded preceding and unbounded following)
            / whole
            * sum(weight) over (partition by {{ keys }}y order by x rows between unbounded preceding and unbounded following)
            / whole as expected_share
    from nmi_cell
)
select {{ keys }}x, y, weight, share, expected_share,
    case when share < 1 then -ln(share / expected_share) / ln(share) else 0.0 end as pointwise_nmi
from nmi_share
{%- endmacro -%}


{#  nmi_cells(cells, by, weight): what nmi and pointwise_nmi begin with, a CTE. #}
{%- macro nmi_cells(cells, by, weight) -%}
{%- set keys %}{% for key in by %}{{ key }}, {% endfor %}{% endset -%}
nmi_sum as (
    select {{ keys }}x, y, cast(sum({{ weight }}) as double) as weight
    from {{ cells }}
    group by all
),
nmi_cell as materialized (
    select *,
        sum(weight) over (
            partition by {{ keys }}true order by x, y rows between unbounded preceding and unbounded following
        ) as whole
    from nmi_sum
    where weight > 0
)
{%- endmacro -%}
