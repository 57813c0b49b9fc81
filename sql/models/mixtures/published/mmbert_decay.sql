-- mmBERT's decay phase, from its data card.
{{ config(enabled=var('published_mixtures'), tags=['mixture']) }}
{{ cuvee.published_mixture('mix_mmbert_decay', 'mmbert_decay_cont') }}
