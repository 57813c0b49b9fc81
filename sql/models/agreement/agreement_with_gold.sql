-- How far every labeler agrees with those that are held for gold (var gold_labelers), by category: the mean of its kappas.
with rated as (
    select doc_id, labeler as annotator, code.category, code."primary", code.secondary
    from {{ ref('corpus_labels') }} as l,
        unnest([
            {%- for facet in cuvee.facets() %}
            {'category': '{{ facet }}', 'primary': {{ cuvee.code_of(facet, 'primary', 'l.') }}, 'secondary': {{ cuvee.code_of(facet, 'secondary', 'l.') }}}
            {{- ',' if not loop.last }}
            {%- endfor %}
        ]) as codes(code)
    where l.doc_id in (
        select doc_id
        from {{ ref('corpus_labels') }}
        where labeler in ({% for labeler in var('gold_labelers') %}'{{ labeler }}', {% endfor %}null)
    )
)
select
    annotator as labeler,
    category,
    documents,
    others as gold_labelers,
    observed,
    expected,
    kappa,
    std_error
from (
    {{ cuvee.gold_kappa('rated', var('gold_labelers'), by=['category'], replicates=var('agreement_replicates')) }}
) as measured
