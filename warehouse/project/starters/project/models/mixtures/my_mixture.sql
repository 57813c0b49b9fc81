-- A first mixture: every component, by the tokens it has. Name shares to weigh them yourself:
--
--     shares={'web': 0.7, 'papers': 0.3}, max_epochs={'papers': 4}
{{ cuvee.mixture(
    pool=ref('train_pool'),
    shares='(select component, cast(sum(n_tokens) as double) as share from ' ~ ref('train_pool') ~ ' group by component)',
    tokens=var('my_mixture_tokens', 'all'),
    seed=var('seed', 17),
) }}
