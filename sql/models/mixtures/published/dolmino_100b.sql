-- OLMo 2's Dolmino mix of 100 B tokens (arXiv 2501.00656, table 13).
{{ config(enabled=var('published_mixtures'), tags=['mixture']) }}
{{ cuvee.published_mixture('mix_dolmino', 'olmo2_dolmino_100B') }}
