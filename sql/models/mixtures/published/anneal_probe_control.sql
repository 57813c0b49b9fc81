-- The control of the anneal probes: the unchanged mix.
{{ config(enabled=var('published_mixtures'), tags=['mixture']) }}
{{ cuvee.published_probe(0) }}
