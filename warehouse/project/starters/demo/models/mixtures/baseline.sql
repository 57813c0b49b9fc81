-- The unchanged mixture: components about as large as the pool has them.
{{ cuvee.mixture(
    pool=ref('train_pool'),
    shares={'code': 0.84, 'prose': 0.10, 'legal': 0.06},
    tokens=var('baseline_tokens'),
    seed=var('seed'),
) }}
