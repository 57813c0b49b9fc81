-- What filters by labels keep: of the documents of a domain, and of all.
{% set subject = 'free_decimal_correspondence' %}
{% set programming %}
({% for code in ('004', '005') %}starts_with({{ subject }}.primary, '{{ code }}') or coalesce(starts_with({{ subject }}.secondary, '{{ code }}'), false)
{{- ' or ' if not loop.last }}{% endfor %})
{% endset %}
{{ cuvee.domain_recall(ref('corpus_labels'), ref('golden_documents'), [
    {'domain': 'web_code', 'name': 'FDC 004 or 005', 'keeps': programming},
    {
        'domain': 'web_code',
        'name': 'FDC 004 or 005, and document type v1 reference, code or forum',
        'keeps': programming ~ " and (document_type_v1.primary in ('3', '4', '5')"
            ~ " or coalesce(document_type_v1.secondary in ('3', '4', '5'), false))",
    },
    {
        'domain': 'math',
        'name': 'FDC 51',
        'keeps': "(starts_with(" ~ subject ~ ".primary, '51') or coalesce(starts_with(" ~ subject ~ ".secondary, '51'), false))",
    },
]) }}
