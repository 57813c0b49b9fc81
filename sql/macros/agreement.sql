{#  annotator_kappa(pairs, by=[], …): how far two annotators agree who give each document none, one or two labels:
    the annotator kappa of arXiv 2506.14111 (section 5.1.2, A.9), as the paper's code computes it.

        {{ annotator_kappa(ref('label_pairs'), by=['category'], replicates=100) }}

    pairs        relation with a row per document and whatever `by` names: primary_a, secondary_a, primary_b,
                 secondary_b, the codes by the two annotators. A row means that both annotators were asked. The two
                 labels have no order; an absent code, an empty one and one below zero (-1, Abstain) are no label.
    by           columns of pairs: one result for each combination of their values
    n            column of pairs that says for how many documents a row stands; without it, one
    weighted     false: two sets agree if they share a label, or both are empty; chance is that of such a meeting.
                 true: they agree by the Jaccard index of the sets
    shared       false: each annotator has labels and fertilities of its own (Cohen's way).
                 true: both draw from the labels and fertilities of the two together (Fleiss's way)
    smoothing    1 is added to the counts of labels and of fertilities; unless told, if not shared
    replicates   bootstraps behind std_error: 100 in the paper. 0: std_error is NULL
    draws        documents that a bootstrap draws at most. If there are more, std_error is that of so many, scaled by
                 the square root of their ratio
    seed         of the bootstrap

    Rows: by…, documents, observed, expected, kappa, std_error. kappa is (observed − expected) / (1 − expected), and
    observed if expected is 1.

    Chance: with k labels for a document as often as the annotator gives k (fertility), the first label is drawn by its
    share in all labels that the annotator gave, the second from the others by the same shares. Documents are counted
    before anything else, so what follows runs over the distinct combinations of codes. A bootstrap draws documents with
    replacement, by md5: the same rows give the same result on any machine.
#}
{%- macro annotator_kappa(
    pairs, by=[], n=none, weighted=false, shared=false, smoothing=none, replicates=0, draws=10000, seed=17
) -%}
with
kappa_code as (
    select
        {% for key in by %}{{ key }}, {% endfor %}
        cast(primary_a as varchar) as primary_a,
        cast(secondary_a as varchar) as secondary_a,
        cast(primary_b as varchar) as primary_b,
        cast(secondary_b as varchar) as secondary_b,
        {{ 'count(*)' if n is none else 'sum(' ~ n ~ ')' }} as n
    from {{ pairs }}
    group by {% for key in by %}{{ key }}, {% endfor %}primary_a, secondary_a, primary_b, secondary_b
),
kappa_set as (
    select
        {% for key in by %}{{ key }}, {% endfor %}
        {% for side in 'ab' -%}
        list_sort(list_distinct(list_filter(
            [primary_{{ side }}, secondary_{{ side }}],
            lambda code: code != '' and not coalesce(try_cast(code as double) < 0, false)
        ))) as set_{{ side }},
        {% endfor %}
        n
    from kappa_code
),
{{ kappa_of_sets('kappa_set', by, weighted, shared, smoothing, replicates, draws, seed) }}
{%- endmacro -%}


{#  kappa_of_sets(sets, …): the common part of annotator_kappa and shared_kappa, from CTEs to the SELECT. sets is a CTE
    with by…, set_a, set_b (sorted lists of none, one or two codes) and n.
#}
{%- macro kappa_of_sets(sets, by, weighted, shared, smoothing, replicates, draws, seed) -%}
{%- set added = (0 if shared else 1) if smoothing is none else (1 if smoothing else 0) -%}
kappa_numbered as (
    select
        {% for key in by %}{{ key }}, {% endfor %}
        {% if by %}dense_rank() over (order by {{ by | join(', ') }}){% else %}1{% endif %} as part,
        set_a, set_b, sum(n) as n
    from {{ sets }}
    group by {% for key in by %}{{ key }}, {% endfor %}set_a, set_b
),
kappa_cell as materialized (
    select
        *,
        row_number() over (order by part, set_a, set_b) as cell,
        cast(sum(n) over (partition by part) as bigint) as documents,
        cast(sum(n) over (
            partition by part order by set_a, set_b rows between unbounded preceding and current row
        ) - n as bigint) as documents_before
    from kappa_numbered
),
{% if replicates -%}
-- One digest gives four numbers of 30 bits.
kappa_chance as (
    select
        replicate,
        4 * quarter + place as draw,
        cast('0x' || substr(digest, 1 + 8 * place, 8) as bigint) // 4 as chance
    from (
        select
            replicate,
            quarter,
            md5('{{ seed }}:' || replicate || ':' || quarter) as digest
        from range(1, {{ replicates + 1 }}) as replicates(replicate),
            range({{ (draws + 3) // 4 }}) as quarters(quarter)
    ) as digests,
        range(4) as places(place)
),
kappa_drawn as (
    select drawn.part, drawn.replicate, kappa_cell.cell, count(*) as n
    from (
        select
            parts.part,
            kappa_chance.replicate,
            (kappa_chance.chance * cast(parts.documents as hugeint)) // 1073741824 as document
        from (select distinct part, documents from kappa_cell) as parts
        join kappa_chance on kappa_chance.draw < least(parts.documents, {{ draws }})
    ) as drawn
    asof join kappa_cell on kappa_cell.part = drawn.part and drawn.document >= kappa_cell.documents_before
    group by drawn.part, drawn.replicate, kappa_cell.cell
),
{% endif -%}
kappa_sample as (
    select part, 0 as replicate, set_a, set_b, n from kappa_cell
    {%- if replicates %}
    union all
    select kappa_drawn.part, kappa_drawn.replicate, kappa_cell.set_a, kappa_cell.set_b, kappa_drawn.n
    from kappa_drawn
    join kappa_cell on kappa_cell.cell = kappa_drawn.cell
    {%- endif %}
),
kappa_count as (
    select
        part,
        replicate,
        cast(sum(n) as double) as documents,
        {% for side in 'ab' %}{% for size in range(3) -%}
        cast(coalesce(sum(n) filter (where len(set_{{ side }}) = {{ size }}), 0) as double) as size_{{ side }}{{ size }},
        {% endfor %}{% endfor -%}
        {%- set common = 'len(list_intersect(set_a, set_b))' %}
        {%- if weighted %}
        -- In sixths: the Jaccard index of such sets is 0, 1/3, 1/2 or 1.
        sum(n * case
            when set_a = set_b then 6
            when {{ common }} = 0 then 0
            when len(set_a) = 2 and len(set_b) = 2 then 2
            else 3
        end) / (6.0 * sum(n)) as observed
        {%- else %}
        sum(n * case when set_a = set_b or {{ common }} > 0 then 1 else 0 end) / cast(sum(n) as double) as observed
        {%- endif %}
    from kappa_sample
    group by part, replicate
),
kappa_label as (
    select part, replicate, label, sum(n_a) as n_a, sum(n_b) as n_b
    from (
        select part, replicate, unnest(set_a) as label, n as n_a, 0 as n_b from kappa_sample
        union all
        select part, replicate, unnest(set_b) as label, 0 as n_a, n as n_b from kappa_sample
    ) as given
    group by part, replicate, label
),
-- w: the label's share; v: 1 − w, from whole numbers, since a label may have nearly all. An annotator that gives no
-- label at all has no shares. A label that has all leaves no second one to draw.
kappa_share as (
    select part, replicate, label,
        {% for side in 'ab' -%}
        {%- set given = 'n_a + n_b' if shared else 'n_' ~ side -%}
        {%- set total = 'nullif(sum(' ~ given ~ ') over every + ' ~ added ~ ' * count(*) over every, 0)' -%}
        coalesce(({{ given }} + {{ added }}) / cast({{ total }} as double), 0) as w_{{ side }},
        coalesce(({{ total }} - ({{ given }} + {{ added }})) / cast({{ total }} as double), 0) as v_{{ side }}
        {{- ',' if side == 'a' }}
        {% endfor %}
    from kappa_label
    window every as (partition by part, replicate)
),
kappa_odds as (
    select part, replicate, label, w_a, w_b, w_a * w_b as u,
        case when v_a > 0 then 1 / v_a else 0 end as g_a,
        case when v_b > 0 then 1 / v_b else 0 end as g_b
    from kappa_share
),
-- What all other labels have. Summed without this one, not subtracted from the whole: that would lose every digit where
-- this one has nearly all.
kappa_other as (
    select part, replicate, label, u, g_a, g_b,
        coalesce(sum(w_a * g_a) over others, 0) as r_a,
        coalesce(sum(w_b * g_b) over others, 0) as r_b,
        coalesce(sum(u) over others, 0) as other_u,
        coalesce(sum(u * g_b) over others, 0) as other_u_g_b
    from kappa_odds
    window others as (
        partition by part, replicate order by label
        rows between unbounded preceding and unbounded following exclude current row
    )
),
-- Ordered, so that the last digit depends on nothing but the counts. same_two: the chance that two pairs are equal.
kappa_meeting as (
    select part, replicate,
        sum(u order by label) as one_one,
        sum(u * (1 + r_b) order by label) as one_two,
        sum(u * (1 + r_a) order by label) as two_one,
        sum(u * (1 + r_a) * (1 + r_b) order by label) as two_two,
        sum(u * g_a * (g_b * other_u + other_u_g_b) order by label) as same_two
    from kappa_other
    group by part, replicate
),
kappa_fertility as (
    select part, replicate, documents, observed,
        {% for side in 'ab' %}{% for size in range(3) -%}
        {%- if shared %}
        (size_a{{ size }} + size_b{{ size }} + {{ added }}) / (2 * documents + {{ 3 * added }})
        {%- else %}
        (size_{{ side }}{{ size }} + {{ added }}) / (documents + {{ 3 * added }})
        {%- endif %} as f_{{ side }}{{ size }}{{ ',' if not (side == 'b' and size == 2) }}
        {% endfor %}{% endfor %}
    from kappa_count
),
kappa_expected as (
    select kappa_fertility.part, kappa_fertility.replicate, documents, observed,
        f_a0 * f_b0 + coalesce(
            f_a1 * f_b1 * one_one
            {%- if weighted %}
            + f_a1 * f_b2 * one_two / 2 + f_a2 * f_b1 * two_one / 2
            + f_a2 * f_b2 * (two_two + same_two) / 3
            {%- else %}
            + f_a1 * f_b2 * one_two + f_a2 * f_b1 * two_one
            + f_a2 * f_b2 * (two_two - same_two)
            {%- endif %},
            0
        ) as expected
    from kappa_fertility
    left join kappa_meeting
        on kappa_meeting.part = kappa_fertility.part and kappa_meeting.replicate = kappa_fertility.replicate
),
kappa_value as (
    select *, {{ chance_corrected('observed', 'expected') }} as kappa from kappa_expected
),
kappa_key as (
    select part{% for key in by %}, any_value({{ key }}) as {{ key }}{% endfor %}
    from kappa_cell
    group by part
)
select
    {% for key in by %}kappa_key.{{ key }}, {% endfor %}
    cast(measured.documents as bigint) as documents,
    measured.observed,
    measured.expected,
    measured.kappa,
    {% if replicates -%}
    -- Ordered for the last digit, too.
    (
        select stddev_samp(drawn.kappa order by drawn.replicate)
        from kappa_value as drawn
        where drawn.part = measured.part and drawn.replicate > 0
    ) * sqrt(least(measured.documents, {{ draws }}) / measured.documents)
    {%- else -%}
    cast(null as double)
    {%- endif %} as std_error
from kappa_value as measured
join kappa_key on kappa_key.part = measured.part
where measured.replicate = 0
{%- endmacro -%}


{#  chance_corrected(observed, expected): (observed − expected) / (1 − expected); observed if expected is 1, less what
    doubles leave open.
#}
{%- macro chance_corrected(observed, expected) -%}
case
    when 1 - {{ expected }} > 1e-12 then ({{ observed }} - {{ expected }}) / (1 - {{ expected }})
    else {{ observed }}
end
{%- endmacro -%}
