-- What checkpoints scored in benchmark tasks, above chance: (score - random) / (1 - random), as in Gauntlet v0.3.
select
    metrics.run_id,
    metrics.batch,
    metrics.tokens,
    metrics.component as task,
    gauntlet.category,
    gauntlet.shots,
    metrics.value as score,
    gauntlet.random,
    (metrics.value - gauntlet.random) / (1 - gauntlet.random) as above_chance
from {{ source('runs', 'metrics') }} as metrics
join {{ ref('gauntlet') }} as gauntlet on gauntlet.task = metrics.component
where metrics.name = 'benchmark/accuracy'
