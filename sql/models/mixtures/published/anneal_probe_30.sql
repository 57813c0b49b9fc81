-- Llama 3's probe of a dataset (arXiv 2407.21783, 3.1.3): 30% candidate, 70% unchanged mix.
{{ config(enabled=var('published_mixtures'), tags=['mixture']) }}
{{ cuvee.published_probe(0.3) }}
