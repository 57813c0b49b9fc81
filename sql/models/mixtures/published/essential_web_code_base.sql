-- Essential-Web's Code-Base (arXiv 2506.14111): DCLM-baseline and Python of stack-v2-dedup, 1:1.
{{ config(enabled=var('published_mixtures'), tags=['mixture']) }}
{{ cuvee.published_mixture('mix_essential_web', 'essential_web_code_base') }}
