-- What each arm did to each held-out component, over its seeds: against the control, and against the whole arm if it lacks
-- a component. Runs with the same seed are compared.
with compared as (
    select *, control as compared_with, loss_less_control as difference
    from {{ ref('run_comparison') }}
    where arm <> control
    union all
    select *, complete, loss_less_complete
    from {{ ref('run_comparison') }}
    where complete <> control
)
select
    recipe,
    settings,
    budget_window,
    learning_rate,
    arm,
    left_out,
    compared_with,
    component,
    count(*) as seeds,
    avg(difference) as effect,
    max(difference) - min(difference) as spread,
    abs(avg(difference)) > max(difference) - min(difference) as beyond_spread
from compared
group by all
