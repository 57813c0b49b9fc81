{#  bytes_per_token(default): how many bytes of text a token has, for estimates: as measured over the documents of the lake
    that some tokenizer counted, else the default. SmolLM2's tokenizer has 4.0 to 4.1 over English web pages and books, 3.2 over technical ones.
#}
{%- macro bytes_per_token(default=4) -%}
{%- if adapter.get_relation(target.database, 'counts', 'n_tokens') -%}
(
    select coalesce(sum(strlen(counted.text)) / nullif(sum(answers.n_tokens), 0), {{ default }})
    from counts.n_tokens as answers
    join raw.documents as counted on counted.doc_id = answers.doc_id
)
{%- else -%}
{{ default }}
{%- endif -%}
{%- endmacro -%}
