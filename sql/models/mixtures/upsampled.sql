-- The mixture of the anneal: prose and legal text get three and five times their share.
{{ mixture(
    pool=ref('train_pool'),
    shares={'code': 0.40, 'prose': 0.30, 'legal': 0.30},
    tokens=var('anneal_tokens'),
    seed=var('seed'),
    max_epochs=2,
) }}
