-- How far every two labelers agree, by category.
{% set by = ['labeler_a', 'labeler_b', 'category'] %}
-- The categories that are scales; their last codes, Indeterminate, have no place on it.
{% set places = {
    'bloom_cognitive_process': 6, 'reasoning_depth': 5, 'technical_correctness': 5, 'education_level': 4,
} %}
with single_pairs as (
    select * from {{ ref('label_pairs') }}
    where secondary_a is null and secondary_b is null and primary_a >= '0' and primary_b >= '0'
),
kappas as (
    {{ cuvee.annotator_kappa(ref('label_pairs'), by, n='documents', replicates=var('agreement_replicates')) }}
),
weighted_kappas as (
    {{ cuvee.annotator_kappa(ref('label_pairs'), by, n='documents', weighted=true) }}
),
shared_kappas as (
    {{ cuvee.annotator_kappa(ref('label_pairs'), by, n='documents', shared=true) }}
),
single_kappas as (
    {% set place -%}
    case category
        {%- for category, last in places.items() %}
        when '{{ category }}' then case when try_cast(SIDE as integer) <= {{ last }} then try_cast(SIDE as integer) end
        {%- endfor %}
    end
    {%- endset %}
    {{ cuvee.single_label_agreement(
        'single_pairs', by, n='documents',
        position_a=place | replace('SIDE', 'primary_a'), position_b=place | replace('SIDE', 'primary_b'),
    ) }}
)
select
    kappas.labeler_a,
    kappas.labeler_b,
    kappas.category,
    kappas.documents,
    kappas.observed,
    kappas.expected,
    kappas.kappa,
    kappas.std_error,
    weighted_kappas.kappa as weighted_kappa,
    shared_kappas.kappa as shared_kappa,
    coalesce(single_kappas.documents, 0) as single_documents,
    single_kappas.cohen_kappa,
    single_kappas.linear_kappa,
    single_kappas.quadratic_kappa,
    single_kappas.krippendorff_alpha
from kappas
join weighted_kappas using (labeler_a, labeler_b, category)
join shared_kappas using (labeler_a, labeler_b, category)
left join single_kappas using (labeler_a, labeler_b, category)
