-- SmolLM3's decay stage, as its training configuration has it. The weights sum to 1.00565; shares are normalised.
{{ config(enabled=var('published_mixtures'), tags=['mixture']) }}
{{ cuvee.published_mixture('mix_smollm3', 'smollm3_stage3_decay') }}
