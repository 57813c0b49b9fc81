-- The anneal of Code-Base: the dataset under test and Python of stack-edu, 1:1.
{{ config(enabled=var('published_mixtures'), tags=['mixture']) }}
{{ cuvee.published_mixture('mix_essential_web', 'essential_web_code_anneal') }}
