{#  The mixtures of models/mixtures/published/: shares from the seeds of seeds/mixes/, documents from mixture_components.

        {{ cuvee.published_mixture('mix_ettin_decay', 'ettin_decay_renormalised_76.3B') }}

    seed, mix   which seed has the shares, and under which name
    tokens, budget, window   as in mixture(); without them the var published_tokens

    Vars: published_by ('component', or 'kind' to map kinds of data and add up the shares of each), published_max_epochs,
    published_shortfall, and the documents' vars, which models/mixtures/published/schema.yml explains.
#}
{%- macro published_mixture(seed, mix, tokens=none, budget=none, window=none) -%}
{{ cuvee.mixture(
    pool=ref('mixture_components'),
    shares=cuvee.published_shares(seed, mix),
    tokens=tokens if tokens is not none or budget is not none else var('published_tokens', 'all'),
    budget=budget,
    window=window,
    seed=var('seed', 17),
    max_epochs=var('published_max_epochs', 4),
    shortfall=var('published_shortfall', 'fail'),
    overlap='first',
) }}
{%- endmacro -%}

{#  published_probe(share): a candidate dataset beside the unchanged mix, which the var published_default names. #}
{%- macro published_probe(share) -%}
{%- set default = var('published_default', {'seed': 'mix_domain_upsampling', 'mix': 'blakeney_baseline_1T'}) -%}
{{ cuvee.mixture(
    pool=ref('mixture_components'),
    shares="(select component, share * " ~ (1 - share) ~ " / sum(share) over () as share from "
        ~ cuvee.published_shares(default.seed, default.mix) ~ " as unchanged union all select 'candidate', " ~ share
        ~ (" where false" if share == 0 else "") ~ ")",
    tokens=var('published_tokens', 'all'),
    seed=var('seed', 17),
    max_epochs=var('published_max_epochs', 4),
    shortfall=var('published_shortfall', 'fail'),
    overlap='first',
) }}
{%- endmacro -%}

{#  A mix's shares as a subquery (component, share), in per cent as published. #}
{%- macro published_shares(seed, mix) -%}
{%- set by = var('published_by', 'component') -%}
{%- if by not in ('component', 'kind') -%}
    {{ exceptions.raise_compiler_error("published_by is component or kind, not " ~ by) }}
{%- endif -%}
(select {{ by }} as component, cast(sum(cast(share_percent as decimal(18, 9))) as double) as share from {{ ref(seed) }} where mix = {{ cuvee.mixture_text(mix) }} group by {{ by }})
{%- endmacro -%}

{#  The tokens of the whole training: the var training_budget, else those of the baseline. #}
{%- macro published_budget() -%}
{{ var('training_budget', none) or "(select sum(n_tokens * copies) from " ~ ref('domain_upsampling_baseline') ~ ")" }}
{%- endmacro -%}
