-- What the upsampled mixture asked for, and what it got.
{{ mixture_report(
    mixture=ref('upsampled'),
    pool=ref('train_pool'),
    shares={'code': 0.40, 'prose': 0.30, 'legal': 0.30},
    tokens=var('anneal_tokens'),
    seed=var('seed'),
    max_epochs=2,
) }}
