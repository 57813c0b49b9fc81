-- The baseline of domain upsampling (arXiv 2406.03476): what 1T tokens were trained on.
{{ config(enabled=var('published_mixtures'), tags=['mixture']) }}
{{ cuvee.published_mixture('mix_domain_upsampling', 'blakeney_baseline_1T', tokens=var('training_budget') or var('published_tokens')) }}
