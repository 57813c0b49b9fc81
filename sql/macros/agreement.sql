{#  annotator_kappa(pairs, by=[], …): how far two annotators agree who give each document none, one or two labels:
    the annotator kappa of arXiv 2506.14111 (section 5.1.2, A.9), as the paper's code computes it.

        {{ cuvee.annotator_kappa(ref('label_pairs'), by=['category'], replicates=100) }}

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
        {{ cuvee.label_set('primary_' ~ side, 'secondary_' ~ side) }} as set_{{ side }},
        {% endfor %}
        n
    from kappa_code
),
{{ cuvee.kappa_of_sets('kappa_set', by, weighted, shared, smoothing, replicates, draws, seed) }}
{%- endmacro -%}


{#  kappa_of_sets(sets, …): the common part of annotator_kappa and shared_kappa, from CTEs to the SELECT. sets is a CTE
    with by…, set_a, set_b (sorted lists of none, one or two codes) and n. With `against`, set_b is a list of
    {against, labels}, one for each of several others, and the result is the mean over them.
#}
{%- macro kappa_of_sets(sets, by, weighted, shared, smoothing, replicates, draws, seed, against=false) -%}
{%- set part = 'kappa_part, replicate' ~ (', against' if against else '') -%}
{%- set added = (0 if shared else 1) if smoothing is none else (1 if smoothing else 0) -%}
kappa_numbered as (
    select
        {% for key in by %}{{ key }}, {% endfor %}
        {% if by %}dense_rank() over (order by {{ by | join(', ') }}){% else %}1{% endif %} as kappa_part,
        set_a, set_b, sum(n) as n
    from {{ sets }}
    group by {% for key in by %}{{ key }}, {% endfor %}set_a, set_b
),
kappa_cell as materialized (
    select
        *,
        row_number() over (order by kappa_part, set_a, set_b) as cell,
        cast(sum(n) over (partition by kappa_part) as bigint) as documents,
        cast(sum(n) over (
            partition by kappa_part order by set_a, set_b rows between unbounded preceding and current row
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
    select drawn.kappa_part, drawn.replicate, kappa_cell.cell, count(*) as n
    from (
        select
            parts.kappa_part,
            kappa_chance.replicate,
            (kappa_chance.chance * cast(parts.documents as hugeint)) // 1073741824 as document
        from (select distinct kappa_part, documents from kappa_cell) as parts
        join kappa_chance on kappa_chance.draw < least(parts.documents, {{ draws }})
    ) as drawn
    asof join kappa_cell on kappa_cell.kappa_part = drawn.kappa_part and drawn.document >= kappa_cell.documents_before
    group by drawn.kappa_part, drawn.replicate, kappa_cell.cell
),
{% endif -%}
kappa_sample as (
    select
        kappa_part, replicate, n, set_a,
        {{ 'other.against as against, other.labels as set_b' if against else 'set_b' }}
    from (
        select kappa_part, 0 as replicate, set_a, set_b, n from kappa_cell
        {%- if replicates %}
        union all
        select kappa_drawn.kappa_part, kappa_drawn.replicate, kappa_cell.set_a, kappa_cell.set_b, kappa_drawn.n
        from kappa_drawn
        join kappa_cell on kappa_cell.cell = kappa_drawn.cell
        {%- endif %}
    ) as sampled{{ ', unnest(set_b) as others(other)' if against }}
),
kappa_count as (
    select
        {{ part }},
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
    group by {{ part }}
),
kappa_label as (
    select {{ part }}, label, sum(n_a) as n_a, sum(n_b) as n_b
    from (
        select {{ part }}, unnest(set_a) as label, n as n_a, 0 as n_b from kappa_sample
        union all
        select {{ part }}, unnest(set_b) as label, 0 as n_a, n as n_b from kappa_sample
    ) as given
    group by {{ part }}, label
),
-- w: the label's share; v: 1 − w, from whole numbers, since a label may have nearly all. An annotator that gives no
-- label at all has no shares. A label that has all leaves no second one to draw.
kappa_share as (
    select {{ part }}, label,
        {% for side in 'ab' -%}
        {%- set given = 'n_a + n_b' if shared else 'n_' ~ side -%}
        {%- set total = 'nullif(sum(' ~ given ~ ') over every + ' ~ added ~ ' * count(*) over every, 0)' -%}
        coalesce(({{ given }} + {{ added }}) / cast({{ total }} as double), 0) as w_{{ side }},
        coalesce(({{ total }} - ({{ given }} + {{ added }})) / cast({{ total }} as double), 0) as v_{{ side }}
        {{- ',' if side == 'a' }}
        {% endfor %}
    from kappa_label
    window every as (partition by {{ part }})
),
kappa_odds as (
    select {{ part }}, label, w_a, w_b, w_a * w_b as u,
        case when v_a > 0 then 1 / v_a else 0 end as g_a,
        case when v_b > 0 then 1 / v_b else 0 end as g_b
    from kappa_share
),
-- What all other labels have. Summed without this one, not subtracted from the whole: that would lose every digit where
-- this one has nearly all.
kappa_other as (
    select {{ part }}, label, u, g_a, g_b,
        coalesce(sum(w_a * g_a) over others, 0) as r_a,
        coalesce(sum(w_b * g_b) over others, 0) as r_b,
        coalesce(sum(u) over others, 0) as other_u,
        coalesce(sum(u * g_b) over others, 0) as other_u_g_b
    from kappa_odds
    window others as (
        partition by {{ part }} order by label
        rows between unbounded preceding and unbounded following exclude current row
    )
),
-- Ordered, so that the last digit depends on nothing but the counts. same_two: the chance that two pairs are equal.
kappa_meeting as (
    select {{ part }},
        sum(u order by label) as one_one,
        sum(u * (1 + r_b) order by label) as one_two,
        sum(u * (1 + r_a) order by label) as two_one,
        sum(u * (1 + r_a) * (1 + r_b) order by label) as two_two,
        sum(u * g_a * (g_b * other_u + other_u_g_b) order by label) as same_two
    from kappa_other
    group by {{ part }}
),
kappa_fertility as (
    select {{ part }}, documents, observed,
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
    select {{ part }}, documents, observed,
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
    left join kappa_meeting using ({{ part }})
),
kappa_value as (
    select *, {{ cuvee.chance_corrected('observed', 'expected') }} as kappa from kappa_expected
),
{% if against -%}
kappa_mean as (
    select kappa_part, replicate, count(*) as others,
        {% for value in ('observed', 'expected', 'kappa') -%}
        avg({{ value }} order by against) as {{ value }}{{ ',' if not loop.last }}
        {% endfor %}
    from kappa_value
    group by kappa_part, replicate
),
{% endif -%}
{%- set value = 'kappa_mean' if against else 'kappa_value' -%}
kappa_error as (
    -- Ordered for the last digit, too.
    select kappa_part, stddev_samp(kappa order by replicate) as std_error
    from {{ value }}
    where replicate > 0
    group by kappa_part
),
kappa_key as (
    select kappa_part, any_value(documents) as documents
        {%- for key in by %}, any_value({{ key }}) as {{ key }}{% endfor %}
    from kappa_cell
    group by kappa_part
)
select
    {% for key in by %}kappa_key.{{ key }}, {% endfor %}
    kappa_key.documents,
    {%- if against %}
    measured.others,
    {%- endif %}
    measured.observed,
    measured.expected,
    measured.kappa,
    kappa_error.std_error * sqrt(least(kappa_key.documents, {{ draws }}) / kappa_key.documents) as std_error
from {{ value }} as measured
join kappa_key using (kappa_part)
left join kappa_error using (kappa_part)
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


{#  label_pairs(labelled): what every two labelers say of the documents that both labelled, counted: the `pairs` of
    annotator_kappa and single_label_agreement, with n='documents'.

    labelled     relation with the columns of current_labels

    Rows: labeler_a, labeler_b (the later name), category (a facet: FDC counts at its three levels), primary_a,
    secondary_a, primary_b, secondary_b, documents.
#}
{%- macro label_pairs(labelled) -%}
{%- set categories = cuvee.eai_categories() -%}
{%- set places = ['primary_a', 'secondary_a', 'primary_b', 'secondary_b'] -%}
with
-- One pass: the categories are the sets of one GROUP BY.
pair_cell as materialized (
    select
        labeler_a,
        labeler_b,
        case
            {%- for category in categories %}
            when grouping(primary_a{{ loop.index }}) = 0 then '{{ category }}'
            {%- endfor %}
        end as category,
        {% for place in places -%}
        coalesce({% for _ in categories %}{{ place }}{{ loop.index }}{{ ', ' if not loop.last }}{% endfor %}) as {{ place }},
        {% endfor -%}
        count(*) as documents
    from (
        select
            {% for category in categories -%}
            {%- set number = loop.index -%}
            {%- for side in 'ab' -%}{%- for rank in ('primary', 'secondary') -%}
            {%- set code = side ~ '.' ~ category ~ '.' ~ rank -%}
            {{ 'left(' ~ code ~ ', 3)' if number == 1 else code }} as {{ rank }}_{{ side }}{{ number }},
            {% endfor %}{% endfor -%}
            {%- endfor -%}
            a.labeler as labeler_a,
            b.labeler as labeler_b
        from {{ labelled }} as a
        join {{ labelled }} as b on b.doc_id = a.doc_id and b.labeler > a.labeler
        -- The last one is nobody's a, the first one nobody's b: with two labelers, half the rows to join.
        where a.labeler < (select max(labeler) from {{ labelled }})
            and b.labeler > (select min(labeler) from {{ labelled }})
    ) as paired
    group by grouping sets (
        {%- for _ in categories %}
        {%- set number = loop.index %}
        (labeler_a, labeler_b{% for place in places %}, {{ place }}{{ number }}{% endfor %}){{ ',' if not loop.last }}
        {%- endfor %}
    )
)
select * from pair_cell where category != 'free_decimal_correspondence'
{%- for level in (1, 2, 3) %}
union all
select labeler_a, labeler_b, 'fdc_level_{{ level }}',
    primary_a, nullif(secondary_a, primary_a), primary_b, nullif(secondary_b, primary_b),
    cast(sum(documents) as bigint) as documents
from (
    select labeler_a, labeler_b, documents,
        {% for place in places %}{{ cuvee.fdc_class(place, level) }} as {{ place }}{{ ', ' if not loop.last }}{% endfor %}
    from pair_cell
    where category = 'free_decimal_correspondence'
) as classes
group by all
{%- endfor %}
{%- endmacro -%}


{#  single_label_agreement(pairs, by=[], n=none, label_a='primary_a', label_b='primary_b', position_a=none,
    position_b=none): the usual measures for two raters with one label each, to set beside annotator_kappa.

        {{ cuvee.single_label_agreement(ref('ratings'), by=['question'], position_a='grade_a', position_b='grade_b') }}

    pairs        relation with a row per document, the labels of both raters in label_a and label_b; rows where one is
                 NULL count for nothing, and every other value is a label, -1 too
    by, n        as for annotator_kappa
    position_*   where the labels stand on a scale, as numbers (columns or expressions); without them, and where all
                 are NULL, the weighted kappas are NULL

    Rows: by…, documents, observed, cohen_kappa, linear_kappa, quadratic_kappa (Cohen's, weighted by the distance and by
    its square), scott_pi, krippendorff_alpha (for names). Raters that always give the same one label leave nothing to
    chance: then every measure is the observed agreement, 1.
#}
{%- macro single_label_agreement(
    pairs, by=[], n=none, label_a='primary_a', label_b='primary_b', position_a=none, position_b=none
) -%}
with
single_cell as materialized (
    select
        {% if by %}dense_rank() over (order by {{ by | join(', ') }}){% else %}1{% endif %} as single_part,
        *
    from (
        select
            {% for key in by %}{{ key }}, {% endfor %}
            cast({{ label_a }} as varchar) as a,
            cast({{ label_b }} as varchar) as b,
            cast({{ position_a or 'null' }} as double) as at_a,
            cast({{ position_b or 'null' }} as double) as at_b,
            cast({{ 'count(*)' if n is none else 'sum(' ~ n ~ ')' }} as bigint) as n
        from {{ pairs }}
        where {{ label_a }} is not null and {{ label_b }} is not null
        group by all
    ) as counted
),
single_label as (
    select single_part, label, cast(sum(n_a) as hugeint) as n_a, cast(sum(n_b) as hugeint) as n_b
    from (
        select single_part, a as label, n as n_a, 0 as n_b from single_cell
        union all
        select single_part, b as label, 0 as n_a, n as n_b from single_cell
    ) as given
    group by single_part, label
),
single_chance as (
    select single_part,
        sum(n_a) as documents,
        sum(n_a * n_b) / pow(sum(n_a), 2) as cohen,
        sum((n_a + n_b) * (n_a + n_b)) / pow(2 * sum(n_a), 2) as scott,
        sum((n_a + n_b) * (n_a + n_b - 1)) / (2 * sum(n_a) * (2 * sum(n_a) - 1)) as krippendorff
    from single_label
    group by single_part
),
single_observed as (
    select single_part{% for key in by %}, any_value({{ key }}) as {{ key }}{% endfor %},
        sum(case when a = b then n else 0 end) / sum(n) as observed
    from single_cell
    group by single_part
),
-- Only labels with a place on the scale.
single_distance as (
    select single_part, sum(n) as documents,
        sum(n * abs(at_a - at_b) order by at_a, at_b, a, b) as linear,
        sum(n * pow(at_a - at_b, 2) order by at_a, at_b, a, b) as quadratic
    from single_cell
    where at_a is not null and at_b is not null
    group by single_part
),
single_expected as (
    select one.single_part,
        sum(one.n * two.n * abs(one.at_a - two.at_b) order by one.at_a, two.at_b) as linear,
        sum(one.n * two.n * pow(one.at_a - two.at_b, 2) order by one.at_a, two.at_b) as quadratic
    from (
        select single_part, at_a, cast(sum(n) as double) as n from single_cell where at_b is not null group by single_part, at_a
    ) as one
    join (
        select single_part, at_b, cast(sum(n) as double) as n from single_cell where at_a is not null group by single_part, at_b
    ) as two on two.single_part = one.single_part and two.at_b is not null
    where one.at_a is not null
    group by one.single_part
)
select
    {% for key in by %}single_observed.{{ key }}, {% endfor %}
    cast(single_chance.documents as bigint) as documents,
    single_observed.observed,
    {{ cuvee.chance_corrected('single_observed.observed', 'single_chance.cohen') }} as cohen_kappa,
    {% for weight in ('linear', 'quadratic') -%}
    case
        when single_expected.{{ weight }} > 0
        then 1 - single_distance.{{ weight }} * single_distance.documents / single_expected.{{ weight }}
        when single_distance.documents > 0 then 1.0
    end as {{ weight }}_kappa,
    {% endfor -%}
    {{ cuvee.chance_corrected('single_observed.observed', 'single_chance.scott') }} as scott_pi,
    {{ cuvee.chance_corrected('single_observed.observed', 'single_chance.krippendorff') }} as krippendorff_alpha
from single_observed
join single_chance on single_chance.single_part = single_observed.single_part
left join single_distance on single_distance.single_part = single_observed.single_part
left join single_expected on single_expected.single_part = single_observed.single_part
{%- endmacro -%}


{#  shared_kappa(ratings, item='doc_id', by=[], weighted=false): annotator_kappa for any number of
    annotators who draw from common labels and fertilities (Fleiss's way), without smoothing.

        {{ cuvee.shared_kappa(ref('ratings'), by=['category']) }}

    ratings      relation with a row per document and annotator, and what `by` names: item, annotator, "primary",
                 secondary. The agreement of a document is that of the pairs of its annotators; documents with fewer
                 than two count for nothing

    Rows: by…, documents, ratings, observed, expected, kappa.
#}
{%- macro shared_kappa(ratings, item='doc_id', by=[], weighted=false) -%}
{%- set keys %}{% for key in by %}{{ key }}, {% endfor %}{% endset -%}
with
rated as materialized (
    select {{ keys }}{{ item }} as item, annotator, count(*) over (partition by {{ keys }}{{ item }}) as raters,
        {{ cuvee.label_set('"primary"', 'secondary') }} as labels
    from (
        select {{ keys }}{{ item }}, annotator,
            cast("primary" as varchar) as "primary", cast(secondary as varchar) as secondary
        from {{ ratings }}
    ) as given
    qualify raters > 1
),
rated_pair as (
    select {{ keys }}raters, set_a, set_b, count(*) as n
    from (
        select {% for key in by %}a.{{ key }}, {% endfor %}a.raters, a.labels as set_a, b.labels as set_b
        from rated as a
        join rated as b on b.item = a.item and b.annotator > a.annotator
            {%- for key in by %} and b.{{ key }} is not distinct from a.{{ key }}{% endfor %}
    ) as paired
    group by all
),
rated_observed as (
    select {{ keys }}
        sum(n * {{ cuvee.set_match(weighted) }} / (raters * (raters - 1) / 2) order by raters, set_a, set_b)
            / sum(n / (raters * (raters - 1) / 2) order by raters, set_a, set_b) as observed
    from rated_pair
    group by all
),
-- What everyone gave, as if two annotators with the same habits had: their chance is the chance of all.
rated_habit as (
    select {{ keys }}labels as set_a, labels as set_b, count(*) as n
    from rated
    group by all
),
rated_chance as (
    select * from (
        with {{ cuvee.kappa_of_sets('rated_habit', by, weighted, true, none, 0, 1, 0) }}
    ) as chance
),
rated_count as (
    select {{ keys }}count(distinct item) as items, count(*) as ratings from rated group by all
)
select
    {% for key in by %}rated_count.{{ key }}, {% endfor %}
    rated_count.items as documents,
    rated_count.ratings,
    rated_observed.observed,
    rated_chance.expected,
    {{ cuvee.chance_corrected('rated_observed.observed', 'rated_chance.expected') }} as kappa
from rated_count
join rated_observed on true
    {%- for key in by %} and rated_observed.{{ key }} is not distinct from rated_count.{{ key }}{% endfor %}
join rated_chance on true
    {%- for key in by %} and rated_chance.{{ key }} is not distinct from rated_count.{{ key }}{% endfor %}
{%- endmacro -%}


{#  gold_kappa(ratings, gold, item='doc_id', by=[], …): annotator_kappa with each of several annotators held for gold, and
    the mean of these kappas: what arXiv 2506.14111 reports of a labeler.

        {{ cuvee.gold_kappa(ref('ratings'), gold=['gpt-4o', 'claude-3.5-sonnet'], by=['category'], replicates=100) }}

    ratings      relation with a row per document and annotator, and what `by` names: item, annotator, "primary",
                 secondary
    gold         names of annotators. Each is measured by the others
    replicates, draws, seed   as for annotator_kappa. A bootstrap draws a document with all its labels, so std_error is
                 that of the mean

    Rows: annotator, by…, documents (which it and some gold annotator labelled), others (gold annotators with such
    documents), observed, expected, kappa, std_error: each the mean over the others.
#}
{%- macro gold_kappa(
    ratings, gold, item='doc_id', by=[], weighted=false, smoothing=none, replicates=0, draws=10000, seed=17
) -%}
with
gold_rated as materialized (
    select {{ item }} as item, annotator, {% for key in by %}{{ key }}, {% endfor %}
        {{ cuvee.label_set('cast("primary" as varchar)', 'cast(secondary as varchar)') }} as labels
    from {{ ratings }}
    where {{ item }} in (
        select {{ item }} from {{ ratings }} where annotator in ({% for name in gold %}'{{ name }}', {% endfor %}null)
    )
),
gold_set as (
    select annotator, {% for key in by %}{{ key }}, {% endfor %}set_a, set_b, count(*) as n
    from (
        select own.item, own.annotator, {% for key in by %}own.{{ key }}, {% endfor %}own.labels as set_a,
            list(struct_pack(against := other.annotator, labels := other.labels) order by other.annotator) as set_b
        from gold_rated as own
        join gold_rated as other on other.item = own.item and other.annotator != own.annotator
            {%- for key in by %} and other.{{ key }} is not distinct from own.{{ key }}{% endfor %}
        where other.annotator in ({% for name in gold %}'{{ name }}', {% endfor %}null)
        group by own.item, own.annotator, {% for key in by %}own.{{ key }}, {% endfor %}own.labels
    ) as compared
    group by all
),
{{ cuvee.kappa_of_sets('gold_set', ['annotator'] + by, weighted, false, smoothing, replicates, draws, seed, against=true) }}
{%- endmacro -%}


{#  label_set(first, second): the set of one or two codes (VARCHAR), as a sorted list: without those that are no label. #}
{%- macro label_set(first, second) -%}
list_sort(list_distinct(list_filter(
    [{{ first }}, {{ second }}],
    lambda code: code != '' and not coalesce(try_cast(code as double) < 0, false)
)))
{%- endmacro -%}


{#  set_match(weighted): how far set_a and set_b agree, 0 to 1. #}
{%- macro set_match(weighted) -%}
case
    when set_a = set_b then 1.0
    when len(list_intersect(set_a, set_b)) = 0 then 0.0
    {%- if weighted %}
    when len(set_a) = 2 and len(set_b) = 2 then 1.0 / 3
    else 0.5
    {%- else %}
    else 1.0
    {%- endif %}
end
{%- endmacro -%}
