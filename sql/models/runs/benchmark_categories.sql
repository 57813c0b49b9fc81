-- The plain mean of what the tasks of a category scored above chance, and, where every category has a task, the mean of the
-- categories as core_average. Gauntlet's own figures are of all tasks: `tasks` of `tasks_in_all` were run.
with category as (
    select scores.run_id, scores.batch, scores.tokens, scores.category, avg(scores.above_chance) as score, count(*) as tasks
    from {{ ref('benchmark_scores') }} as scores
    group by all
),
size as (select category, count(*) as tasks from {{ ref('gauntlet') }} group by category)
select category.*, size.tasks as tasks_in_all
from category
join size on size.category = category.category
union all
select run_id, batch, tokens, 'core_average', avg(score), sum(tasks), (select count(*) from {{ ref('gauntlet') }})
from category
group by run_id, batch, tokens
having count(*) = (select count(*) from size)
