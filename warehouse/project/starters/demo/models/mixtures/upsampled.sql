-- The mixture of the anneal: prose and legal text get four times their share.
{{ cuvee.mixture(
    pool=ref('train_pool'),
    shares={'code': 0.30, 'prose': 0.45, 'legal': 0.25},
    tokens=var('anneal_tokens'),
    seed=var('seed'),
    max_epochs=2,
) }}
