-- The control of the anneal probes: the unchanged mix.
{{ config(enabled=var('published_mixtures'), tags=['mixture']) }}
{{ published_probe(0) }}
