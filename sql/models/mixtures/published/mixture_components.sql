-- Which documents are which published component. A document may be several, in different mixes; within one mix it is the
-- first of them in the order of `published_components`. Write this model yourself if conditions are not enough: it needs
-- doc_id, component, n_tokens and position.
{{ config(enabled=var('published_mixtures')) }}
{% set components = var('published_components') or {} %}
{#- dbt renders models that are left out, too. -#}
{% if var('published_mixtures') and not components and not var('published_candidate') %}
    {{ exceptions.raise_compiler_error("set the var published_components: {code: \"component = 'code'\", web: …}") }}
{% endif %}
{% if var('published_candidate') %}
select doc_id, 'candidate' as component, n_tokens, 0 as position
from {{ ref(var('published_pool')) }}
where doc_id in (select doc_id from {{ ref(var('published_candidate')) }})
{{ 'union all' if components }}
{% endif %}
{% for component, condition in components.items() %}
select doc_id, {{ mixture_text(component) }} as component, n_tokens, {{ loop.index }} as position
from {{ ref(var('published_pool')) }}
where {{ condition }}
{{ 'union all' if not loop.last }}
{% endfor %}
