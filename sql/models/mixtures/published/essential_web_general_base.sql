-- Essential-Web's General-Base (arXiv 2506.14111): DCLM-baseline alone.
{{ config(enabled=var('published_mixtures'), tags=['mixture']) }}
{{ cuvee.published_mixture('mix_essential_web', 'essential_web_general_base') }}
