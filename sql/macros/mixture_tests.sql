{#  Tests of mixtures, for schema.yml: the model has doc_id, component, copies and n_tokens.

        data_tests:
          - mixture_shares: {arguments: {shares: {code: 0.4, prose: 0.6}, within: 0.01}}
          - max_epochs: {arguments: {at_most: 4}}
          - max_shift: {arguments: {reference: ref('baseline'), at_most: 0.3, at_most_kl: 0.5}}
          - max_document_share
          - disjoint_from: {arguments: {to: ref('held_out')}}
          - no_contamination
          - licence_allowed: {arguments: {allowed: [MIT, Apache-2.0]}}

    mixture_shares    every component has its share of the tokens (normalised; a mapping or a relation with component and
                      share) within so much, 0.01 unless told; no other component has tokens
    max_epochs        no document is seen more often, over all its components; or as component → number, within each
    max_shift         against a reference mixture, no component's share of the tokens moves by more than at_most, and the
                      divergence KL(model‖reference) over components is at most at_most_kl nats; either may be left out
    max_document_share   no document has more than at_most of its component's tokens, 0.01 unless told; a warning, unless
                      its config says severity: error
    disjoint_from     no document is in the other relation too (its column `field`); rows without an id fail it
    no_contamination  no document quotes a benchmark, by the model contaminated_documents or a relation `contaminated`
                      (with `compared`, the relation of the documents that were looked at). Documents that were not
                      compared fail it, and so does a lake without a benchmark
    licence_allowed   every document was found at one place at least under a licence of the list, whatever its case;
                      unknown='allow' passes documents that have no licence anywhere

    disjoint_from, no_contamination and licence_allowed hold for any model with documents; column_name names their ids.
#}
{% test mixture_shares(model, shares, within=0.01) %}
{%- set listed = shares is mapping and shares.identifier is not string -%}
with asked as (
    select component, share / sum(share) over () as share
    from {% if listed %}(
        values {% for component, share in shares.items() %}({{ cuvee.mixture_text(component) }}, cast({{ share }} as double))
            {{- ', ' if not loop.last }}{% endfor %}
    ) as given(component, share){% else %}{{ shares }}{% endif %}
),
got as ({{ cuvee.mixture_got_shares(model) }})
select coalesce(asked.component, got.component) as component, asked.share as share_asked, got.share as share_got
from asked
full join got on got.component = asked.component
where abs(coalesce(got.share, 0) - coalesce(asked.share, 0)) > {{ within }}
    or (asked.component is null and got.share > 0)
    -- A mixture without tokens has no share of anything.
    or (select count(*) from got) = 0
{% endtest %}


{% test max_epochs(model, at_most) %}
{%- if at_most is mapping %}
select component, doc_id, sum(copies) as copies
from {{ model }}
group by component, doc_id
having sum(copies) > case component
    {%- for component, limit in at_most.items() %} when {{ cuvee.mixture_text(component) }} then {{ limit }}{% endfor %} end
{%- else %}
select doc_id, sum(copies) as copies
from {{ model }}
group by doc_id
having sum(copies) > {{ at_most }}
{%- endif %}
{% endtest %}


{% test max_shift(model, reference, at_most=none, at_most_kl=none) %}
{%- if at_most is none and at_most_kl is none -%}
    {{ exceptions.raise_compiler_error("max_shift: say at_most, a difference of shares, or at_most_kl, in nats") }}
{%- endif -%}
with here as ({{ cuvee.mixture_got_shares(model) }}),
there as ({{ cuvee.mixture_got_shares(reference) }}),
shifts as (
    select
        coalesce(here.component, there.component) as component,
        coalesce(here.share, 0) as share,
        coalesce(there.share, 0) as reference_share
    from here
    full join there on there.component = here.component
),
divergence as (
    select case when bool_or(share > 0 and reference_share = 0) then 'infinity'::double
        else sum(case when share > 0 and reference_share > 0 then share * ln(share / reference_share) else 0 end)
        end as nats
    from shifts
)
select shifts.*, divergence.nats
from shifts, divergence
where {{ "false" if at_most is none else "abs(share - reference_share) > " ~ at_most }}
    or {{ "false" if at_most_kl is none else "nats > " ~ at_most_kl }}
{% endtest %}


{% test max_document_share(model, at_most=0.01) %}
{{ config(severity='warn') }}
select mixture.component, mixture.doc_id, mixture.n_tokens, components.tokens as component_tokens
from {{ model }} as mixture
join (
    select component, sum(n_tokens * copies) as tokens from {{ model }} group by component
) as components on components.component = mixture.component
where mixture.n_tokens > {{ at_most }} * components.tokens
{% endtest %}


{% test disjoint_from(model, to, column_name='doc_id', field='doc_id') %}
select distinct {{ column_name }}
from {{ model }}
where {{ column_name }} is null or {{ column_name }} in (select {{ field }} from {{ to }} where {{ field }} is not null)
{% endtest %}


{% test no_contamination(model, contaminated=none, compared=none, column_name='doc_id') %}
{%- if contaminated is not none and compared is none -%}
    {{ exceptions.raise_compiler_error(
        "no_contamination: with contaminated, say which documents were compared: compared: ref('…'), a relation with doc_id"
    ) }}
{%- endif -%}
select asked.doc_id, 'quotes a benchmark' as problem
from (select distinct {{ column_name }} as doc_id from {{ model }}) as asked
where asked.doc_id in (select doc_id from {{ contaminated or ref('contaminated_documents') }})
union all
select asked.doc_id, 'was not compared with the benchmarks'
from (select distinct {{ column_name }} as doc_id from {{ model }}) as asked
anti join {{ compared or ref('document_contamination') }} as seen on seen.doc_id = asked.doc_id
{%- if contaminated is none %}
union all
select null, 'no benchmark is loaded: cuvee ingest FILE --benchmark NAME'
where not exists (select 1 from {{ ref('benchmark_items') }})
{%- endif %}
{% endtest %}


{% test licence_allowed(model, allowed, unknown='fail', column_name='doc_id') %}
{%- if not allowed or allowed is string -%}
    {{ exceptions.raise_compiler_error("licence_allowed: allowed is a list of licences: [MIT, Apache-2.0]") }}
{%- endif -%}
{%- if unknown not in ('fail', 'allow') -%}
    {{ exceptions.raise_compiler_error("licence_allowed: unknown is 'fail' or 'allow', not '" ~ unknown ~ "'") }}
{%- endif -%}
select documents.doc_id, string_agg(distinct occurrences.licence, ', ' order by occurrences.licence) as licences
from (select distinct {{ column_name }} as doc_id from {{ model }}) as documents
left join {{ source('raw', 'occurrences') }} as occurrences on occurrences.doc_id = documents.doc_id
group by documents.doc_id
having not coalesce(bool_or(lower(occurrences.licence) in (
    {%- for licence in allowed %}lower({{ cuvee.mixture_text(licence) }}){{ ', ' if not loop.last }}{% endfor -%}
)), {{ 'true' if unknown == 'allow' else 'false' }})
{% endtest %}


{#  The shares that a mixture's components have of its tokens: component, share. #}
{%- macro mixture_got_shares(mixture) -%}
select component, cast(sum(n_tokens * copies) as double) / nullif(sum(sum(n_tokens * copies)) over (), 0) as share
from {{ mixture }}
group by component
{%- endmacro -%}
