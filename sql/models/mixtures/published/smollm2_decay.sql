-- SmolLM2's decay stage, 10 T to 11 T tokens (arXiv 2502.02737).
{{ config(enabled=var('published_mixtures'), tags=['mixture']) }}
{{ cuvee.published_mixture('mix_smollm2', 'smollm2_stage4_decay') }}
