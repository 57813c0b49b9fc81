{#  kept_for_evaluation(doc_id): true for the documents that no labeler may be distilled from, the share evaluation_share
    of all, by a hash of the id. What evaluates labelers is drawn from these, what they learn from is drawn from the others:
    so the two never meet, whatever is added to the lake.

        where not {{ cuvee.kept_for_evaluation('doc_id') }}
#}
{%- macro kept_for_evaluation(doc_id) -%}
{{ cuvee.held_out(doc_id, share=var('evaluation_share', 0.02), seed=var('seed', 17) ~ ':evaluation') }}
{%- endmacro -%}
