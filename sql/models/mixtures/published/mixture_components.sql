-- Which documents are which published component. A document may be several, in different mixes; within one mix it is the
-- first of them in the order of `published_components`. Write this model yourself if conditions are not enough: it needs
-- doc_id, component, n_tokens and position.
{{ config(enabled=var('published_mixtures')) }}
{% set components = var('published_components') or {} %}
{#- dbt renders models that are left out, too. -#}
{% if var('published_mixtures') and not components and not var('published_candidate') %}
    {{ exceptions.raise_compiler_error("set the var published_components: {code: \"component = 'code'\", web: …}") }}
{% endif %}
{% set candidate = var('published_candidate') %}
-- Read once, whatever the number of components: a list of the positions that a document has.
select
    doc_id,
    case position
        {{ "when 0 then 'candidate'" if candidate }}
        {% for component in components %}
        when {{ loop.index }} then {{ cuvee.mixture_text(component) }}
        {% endfor %}
    end as component,
    n_tokens,
    position
from (
    select
        doc_id,
        n_tokens,
        unnest(list_filter([
            {% if candidate %}
            case when doc_id in (select doc_id from {{ ref(candidate) }}) then 0 end{{ ',' if components }}
            {% endif %}
            {% for condition in components.values() %}
            case when {{ condition }} then {{ loop.index }} end{{ ',' if not loop.last }}
            {% endfor %}
        ], lambda position: position is not null)) as position
    from {{ ref(var('published_pool')) }}
) as placed
