-- Domain upsampling in the last 5% of the training (arXiv 2406.03476). Shares are published for 20%; other windows have them too.
{{ config(enabled=var('published_mixtures'), tags=['mixture']) }}
{{ cuvee.published_mixture('mix_domain_upsampling', 'blakeney_du_20pct_window', budget=cuvee.published_budget(), window=0.05) }}
