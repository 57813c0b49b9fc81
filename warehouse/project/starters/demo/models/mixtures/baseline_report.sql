-- What the baseline asked for, and what it got.
{{ cuvee.mixture_report(
    mixture=ref('baseline'),
    pool=ref('train_pool'),
    shares={'code': 0.84, 'prose': 0.10, 'legal': 0.06},
    tokens=var('baseline_tokens'),
    seed=var('seed'),
) }}
