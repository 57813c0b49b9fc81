{#  domain_recall(labelled, golden, filters): how many of the pages that are known to be of a domain a filter keeps, and how
    much of everything (arXiv 2506.14111, section 5.1.3). One pass over the documents.

        {{ cuvee.domain_recall(ref('current_labels'), ref('golden_documents'), [
            {'domain': 'math', 'name': 'FDC 51', 'keeps': "starts_with(free_decimal_correspondence.primary, '51')"},
        ]) }}

    labelled     relation with doc_id, labeler and what the filters name; a document once for every labeler
    golden       relation with doc_id and domain
    filters      of each the domain, a name, and the condition that keeps a document (NULL: it does not)

    Rows: labeler, domain, filter, documents, kept, share_kept, positives, positives_kept, recall (NULL without positives).
#}
{%- macro domain_recall(labelled, golden, filters) -%}
with
recall_count as materialized (
    select
        labeler,
        count(*) as documents
        {%- for filter in filters %},
        count(*) filter (where {{ filter.keeps }}) as kept_{{ loop.index }},
        count(*) filter (where list_contains(known.domains, '{{ filter.domain }}')) as positives_{{ loop.index }},
        count(*) filter (
            where list_contains(known.domains, '{{ filter.domain }}') and ({{ filter.keeps }})
        ) as positives_kept_{{ loop.index }}
        {%- endfor %}
    from {{ labelled }} as labelled
    left join (select doc_id, list(distinct domain) as domains from {{ golden }} group by doc_id) as known
        on known.doc_id = labelled.doc_id
    group by labeler
)
{%- for filter in filters %}
{{ 'union all' if not loop.first }}
select
    labeler,
    '{{ filter.domain }}' as domain,
    '{{ filter.name }}' as filter,
    documents,
    kept_{{ loop.index }} as kept,
    kept_{{ loop.index }} / documents as share_kept,
    positives_{{ loop.index }} as positives,
    positives_kept_{{ loop.index }} as positives_kept,
    positives_kept_{{ loop.index }} / nullif(positives_{{ loop.index }}, 0) as recall
from recall_count
{%- endfor %}
{%- endmacro -%}


{#  found_at(occurrences, bases): which documents were found under which base URLs.

    occurrences  relation with doc_id and url
    bases        relation with domain and url: what the URLs of a domain's pages begin with. Neither scheme, www, port and
                 user nor the host's capitals matter; the host has to be the same, so github.com is not github.community

    Rows: doc_id, domain, url (the base), found_at (a URL of the document).
#}
{%- macro found_at(occurrences, bases) -%}
with
based as (
    select domain, url, {{ cuvee.url_host('url') }} as host, {{ cuvee.url_path('url') }} as path from {{ bases }}
),
located as (
    select doc_id, url, {{ cuvee.url_host('url') }} as host from {{ occurrences }} where url is not null
)
select located.doc_id, based.domain, based.url, min(located.url) as found_at
from located
join based on based.host = located.host and starts_with({{ cuvee.url_path('located.url') }}, based.path)
group by all
{%- endmacro -%}


{#  url_host(url): a URL's host in lower case, without www; url_path(url): what follows it, less a slash at the end of the
    path's beginning, so that https://dlmf.nist.gov and http://www.dlmf.nist.gov/ are one base.
#}
{%- macro url_host(url) -%}
lower(regexp_extract({{ url }}, '^(?:[A-Za-z][A-Za-z0-9+.-]*:)?(?://)?(?:[^/?#@]*@)?(?:[Ww][Ww][Ww]\.)?([^/?#:]*)', 1))
{%- endmacro -%}

{%- macro url_path(url) -%}
regexp_extract({{ url }}, '^(?:[A-Za-z][A-Za-z0-9+.-]*://)?[^/?#]*/?(.*)$', 1)
{%- endmacro -%}
