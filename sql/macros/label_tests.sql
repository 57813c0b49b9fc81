{#  labels_by(labeler, taxonomy='eai'): what a labeler says, one row per document: its latest answer, whatever version of
    the labeler gave it. For labels from outside that is the file that came last. Empty before the first label.

        select doc_id, document_type_v1.primary as kind from {{ cuvee.labels_by('people') }}
#}
{%- macro labels_by(labeler, taxonomy='eai') -%}
(
    {%- if adapter.get_relation(target.database, 'labels', taxonomy) %}
    select * from labels.{{ taxonomy }}
    where labeler = '{{ labeler | replace("'", "''") }}'
    qualify row_number() over (partition by doc_id order by labelled_at desc, fingerprint) = 1
    {%- else %}
    select
        cast(null as varchar) as doc_id,
        cast(null as varchar) as labeler,
        cast(null as varchar) as fingerprint,
        cast(null as varchar) as status,
        {%- for category in cuvee.eai_categories() if taxonomy == 'eai' %}
        cast(null as struct("primary" varchar, secondary varchar)) as {{ category }},
        {%- endfor %}
        cast(null as varchar) as raw,
        cast(null as timestamptz) as labelled_at
    where false
    {%- endif %}
)
{%- endmacro -%}


{#  given_labels(labelers=[]): one labelling of each document by a labeler that is not in the list: the labels that came
    with the corpus, as a subquery (doc_id, labeler, label). Of several, the latest one.
#}
{%- macro given_labels(labelers=[]) -%}
(
    {%- if adapter.get_relation(target.database, 'labels', 'eai') %}
    select
        doc_id,
        labeler,
        struct_pack({% for category in cuvee.eai_categories() %}{{ category }} := {{ category }}{{ ', ' if not loop.last }}{% endfor %}) as label
    from labels.eai
    where status in ('ok', 'partial')
        {%- for labeler in labelers %}
        and labeler <> '{{ labeler | replace("'", "''") }}'
        {%- endfor %}
    qualify row_number() over (partition by doc_id order by labelled_at desc, labeler, fingerprint) = 1
    {%- else %}
    select
        cast(null as varchar) as doc_id,
        cast(null as varchar) as labeler,
        cast(null as struct(
            {%- for category in cuvee.eai_categories() %}
            {{ category }} struct("primary" varchar, secondary varchar){{ ',' if not loop.last }}
            {%- endfor %}
        )) as label
    where false
    {%- endif %}
)
{%- endmacro -%}


{#  labels_long(taxonomy): the labels of a taxonomy, one code per row; no row before the first label. #}
{%- macro labels_long(taxonomy) -%}
{%- if adapter.get_relation(target.database, 'labels', taxonomy) -%}
labels.{{ taxonomy }}_long
{%- else -%}
(
    select
        cast(null as varchar) as doc_id, cast(null as varchar) as labeler, cast(null as varchar) as category,
        cast(null as varchar) as rank, cast(null as varchar) as code, cast(null as varchar) as fingerprint
    where false
)
{%- endif -%}
{%- endmacro -%}


{#  Tests of labels, for schema.yml. The model has a column doc_id, or column_name names it.

        data_tests:
          - parse_rate: {arguments: {labeler: zero_shot, at_least: 0.99}}
          - abstention_rate: {arguments: {labeler: zero_shot, at_most: {document_type_v1: 0.1, education_level: 0.3}}}
          - label_agreement: {arguments: {labeler: eai_distill, gold: people, at_least: 0.6}}

    parse_rate       the share of the model's documents whose labels are ok or partial. It breaks with every document
                     that is neither, or not labelled.
    abstention_rate  the share of -1 among a category's primary labels: one limit for all categories, or one for each
    label_agreement  annotator_kappa with a labeler whose labels are trusted, over the documents and categories that
                     it labelled: one limit for all categories, or one for each. FDC is compared at its three levels,
                     as fdc_level_1, fdc_level_2 and fdc_level_3.
#}
{% test parse_rate(model, labeler, at_least, taxonomy='eai', column_name='doc_id') %}
{{- cuvee.label_limits('parse_rate', 'at_least', at_least, taxonomy, 0, false) -}}
with answers as (
    select asked.doc_id, coalesce(given.status, 'not labelled') as status, given.raw
    from (select distinct {{ column_name }} as doc_id from {{ model }}) as asked
    left join {{ cuvee.labels_by(labeler, taxonomy) }} as given on given.doc_id = asked.doc_id
),
rate as (
    select count(*) filter (where status in ('ok', 'partial')) / count(*) as share from answers
)
select answers.doc_id, answers.status, answers.raw, rate.share, {{ at_least }} as at_least
from answers, rate
where rate.share < {{ at_least }} and answers.status not in ('ok', 'partial')
{% endtest %}


{% test abstention_rate(model, labeler, at_most, taxonomy='eai', column_name='doc_id') %}
{{- cuvee.label_limits('abstention_rate', 'at_most', at_most, taxonomy, 0, true) -}}
with rates as (
    select codes.category, count(*) as documents, count(*) filter (where codes.code = '-1') as abstentions
    from {{ cuvee.labels_by(labeler, taxonomy) }} as given
    join {{ cuvee.labels_long(taxonomy) }} as codes
        on codes.doc_id = given.doc_id and codes.labeler = given.labeler and codes.fingerprint = given.fingerprint
    where codes.rank = 'primary' and given.doc_id in (select {{ column_name }} from {{ model }})
    group by codes.category
),
limits as ({{ cuvee.label_limit_rows(at_most, 'rates') }})
select limits.category, rates.documents, rates.abstentions, rates.abstentions / rates.documents as share,
    limits.allowed as at_most
from limits
left join rates on rates.category = limits.category
where coalesce(rates.abstentions / rates.documents > limits.allowed, true)
{% endtest %}


{% test label_agreement(model, labeler, gold, at_least, taxonomy='eai', column_name='doc_id') %}
{{- cuvee.label_limits('label_agreement', 'at_least', at_least, taxonomy, -1, true) -}}
with
kappas as (
    {{ cuvee.labeler_kappas(model, labeler, gold, taxonomy, column_name) }}
),
limits as ({{ cuvee.label_limit_rows(at_least, 'kappas') }})
select limits.category, kappas.documents, kappas.observed, kappas.expected, kappas.kappa, limits.allowed as at_least
from limits
left join kappas on kappas.category = limits.category
where coalesce(kappas.kappa < limits.allowed, true)
{% endtest %}


{#  labeler_kappas(documents, labeler, gold, taxonomy='eai', column_name='doc_id', replicates=0): annotator_kappa of a
    labeler with one that is trusted, over the documents and categories that the trusted one labelled.

        {{ cuvee.labeler_kappas(ref('evaluation_random'), 'my_student', 'eai_teacher', replicates=100) }}

    documents    relation with the column column_name; for a student, documents that neither it nor its teacher's
                 labels for it have seen
    replicates   as for annotator_kappa

    Rows: category, documents, observed, expected, kappa, std_error. FDC is compared at its three levels, as fdc_level_1,
    fdc_level_2 and fdc_level_3.
#}
{%- macro labeler_kappas(documents, labeler, gold, taxonomy='eai', column_name='doc_id', replicates=0) -%}
with
{%- for side, who in (('a', labeler), ('b', gold)) %}
given_{{ side }} as (
    select doc_id, labeler, fingerprint from {{ cuvee.labels_by(who, taxonomy) }} as given
    where status != 'error' and doc_id in (select {{ column_name }} from {{ documents }})
),
codes_{{ side }} as (
    select codes.doc_id, codes.category,
        max(codes.code) filter (where codes.rank = 'primary') as first,
        max(codes.code) filter (where codes.rank = 'secondary') as second
    from given_{{ side }} as given
    join {{ cuvee.labels_long(taxonomy) }} as codes
        on codes.doc_id = given.doc_id and codes.labeler = given.labeler and codes.fingerprint = given.fingerprint
    group by codes.doc_id, codes.category
),
{%- endfor %}
-- Where the gold says nothing of a category it was not asked; where the labeler says nothing it could not be read.
both_codes as (
    select codes_b.category, codes_a.first as primary_a, codes_a.second as secondary_a,
        codes_b.first as primary_b, codes_b.second as secondary_b
    from codes_b
    join given_a on given_a.doc_id = codes_b.doc_id
    left join codes_a on codes_a.doc_id = codes_b.doc_id and codes_a.category = codes_b.category
),
label_pair as (
    select * from both_codes where category != 'free_decimal_correspondence'
    {%- for level in (1, 2, 3) %}
    union all
    select 'fdc_level_{{ level }}'
        {%- for place in ('primary_a', 'secondary_a', 'primary_b', 'secondary_b') -%}
        , case when {{ place }} != '-1' then left({{ place }}, {{ level }}) end
        {%- endfor %}
    from both_codes where category = 'free_decimal_correspondence'
    {%- endfor %}
),
kappas as (
    {{ cuvee.annotator_kappa('label_pair', by=['category'], replicates=replicates) }}
)
select category, documents, observed, expected, kappa, std_error from kappas
{%- endmacro -%}


{#  label_limit_rows(limit, found): the limits as rows (category, allowed). One for all holds for the categories of the
    relation found; if it has none there is a row that breaks the test, because nothing was looked at.
#}
{%- macro label_limit_rows(limit, found) -%}
{%- if limit is mapping -%}
select * from (values
    {%- for category, value in limit.items() %} ('{{ category }}', {{ value }}){{ ',' if not loop.last }}{% endfor -%}
) as given(category, allowed)
{%- else -%}
select category, {{ limit }} as allowed from {{ found }}
union all
select 'every category', {{ limit }} where not exists (select 1 from {{ found }})
{%- endif -%}
{%- endmacro -%}


{#  label_limits(test, argument, limit, taxonomy, lowest, by_category): an error if a limit makes no sense. #}
{%- macro label_limits(test, argument, limit, taxonomy, lowest, by_category) -%}
{%- set known = taxonomy_categories(taxonomy) if taxonomy_categories is defined else none -%}
{%- if limit is mapping and by_category -%}
{%- set facets = ['fdc_level_1', 'fdc_level_2', 'fdc_level_3'] if test == 'label_agreement' else [] -%}
{%- for category, value in limit.items() -%}
{%- if facets and category == 'free_decimal_correspondence' -%}
{{- exceptions.raise_compiler_error(
    test ~ ': ' ~ category ~ ' is compared as fdc_level_1, fdc_level_2 and fdc_level_3') -}}
{%- elif known is not none and category not in known and category not in facets -%}
{{- exceptions.raise_compiler_error(
    test ~ ': the taxonomy ' ~ taxonomy ~ ' has no category ' ~ category ~ '; it has ' ~ known | join(', ')) -}}
{%- endif -%}
{{- cuvee.label_limits(test, argument ~ '.' ~ category, value, taxonomy, lowest, false) -}}
{%- endfor -%}
{%- elif limit is not number or limit is boolean or limit < lowest or limit > 1 -%}
{{- exceptions.raise_compiler_error(
    test ~ ': ' ~ argument ~ ' is a number from ' ~ lowest ~ ' to 1'
    ~ (', or one for each category' if by_category else '') ~ ', not ' ~ limit) -}}
{%- endif -%}
{%- endmacro -%}
