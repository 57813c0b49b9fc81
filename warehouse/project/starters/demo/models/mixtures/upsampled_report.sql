-- What the upsampled mixture asked for, and what it got.
{{ cuvee.mixture_report(
    mixture=ref('upsampled'),
    pool=ref('train_pool'),
    shares={'code': 0.30, 'prose': 0.45, 'legal': 0.25},
    tokens=var('anneal_tokens'),
    seed=var('seed'),
    max_epochs=2,
) }}
