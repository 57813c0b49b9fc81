-- OLMo 2's microanneal (arXiv 2501.00656, 4.4.2): candidate and unchanged mix, half and half.
{{ config(enabled=var('published_mixtures'), tags=['mixture']) }}
{{ cuvee.published_probe(0.5) }}
