-- Ettin's decay phase: nine rows, thirteen folders. The model card's rows sum to 76.3 B of a stated 81.6 B tokens; the 5.3 B
-- without a row are nobody's, and shares are of the rows.
{{ config(enabled=var('published_mixtures'), tags=['mixture']) }}
{{ cuvee.published_mixture('mix_ettin_decay', 'ettin_decay_renormalised_76.3B') }}
