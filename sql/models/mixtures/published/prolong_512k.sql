-- ProLong's stage of 512K tokens, as its launch script has it.
{{ config(enabled=var('published_mixtures'), tags=['mixture']) }}
{{ cuvee.published_mixture('mix_prolong', 'prolong_512K') }}
