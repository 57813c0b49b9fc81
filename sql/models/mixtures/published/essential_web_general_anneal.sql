-- The anneal of General-Base: the dataset under test, nothing else.
{{ config(enabled=var('published_mixtures'), tags=['mixture']) }}
{{ cuvee.published_mixture('mix_essential_web', 'essential_web_general_anneal') }}
