-- Every finished arm, per held-out component, beside the control of the same window, learning rate and seed, and beside
-- the whole arm if it lacks a component. `settings` is what two runs must share to be compared.
with run as (
    select
        run_id,
        recipe,
        arm,
        seed,
        mixture,
        tokens,
        md5(concat_ws(' ', parent_run_id, config -> '$.model', config -> '$.objective', config -> '$.optimizer',
            config -> '$.boundaries', config -> '$.batch_tokens', config -> '$.precision', config -> '$.anneal',
            config -> '$.held_out_export', config -> '$.start', config -> '$.window')) as settings,
        cast(config ->> '$.window' as double) as budget_window,
        cast(config ->> '$.anneal.learning_rate' as double) as learning_rate,
        config ->> '$.left_out' as left_out,
        config ->> '$.control' as control,
        config ->> '$.complete' as complete,
        cast(config ->> '$.tokens_before' as bigint) as tokens_before,
        cast(config ->> '$.parameters' as bigint) as parameters,
        cast(config ->> '$.parameters_without_embeddings' as bigint) as parameters_without_embeddings
    from {{ source('runs', 'runs') }}
    where (config ->> '$.control') is not null
),
measured as (
    select
        run_id,
        component,
        arg_max(value, batch) filter (name = 'held_out/loss') as loss,
        arg_max(value, batch) filter (name = 'held_out/accuracy') as accuracy
    from {{ source('runs', 'metrics') }}
    where name in ('held_out/loss', 'held_out/accuracy')
    group by run_id, component
),
result as (
    select run.*, measured.component, measured.loss, measured.accuracy
    from run
    join measured on measured.run_id = run.run_id
)
select
    result.recipe,
    result.settings,
    result.budget_window,
    result.learning_rate,
    result.arm,
    result.left_out,
    result.seed,
    result.run_id,
    result.mixture,
    result.component,
    result.tokens,
    result.loss,
    exp(result.loss) as perplexity,
    result.accuracy,
    control.arm as control,
    result.loss - control.loss as loss_less_control,
    complete.arm as complete,
    result.loss - complete.loss as loss_less_complete,
    6.0 * result.parameters * result.tokens as flops,
    6.0 * result.parameters_without_embeddings * result.tokens as flops_without_embeddings,
    6.0 * result.parameters * (result.tokens_before + result.tokens) as full_run_flops
from result
left join result as control
    on control.recipe = result.recipe and control.settings = result.settings and control.seed = result.seed
    and control.component = result.component and control.arm = result.control
left join result as complete
    on complete.recipe = result.recipe and complete.settings = result.settings and complete.seed = result.seed
    and complete.component = result.component and complete.arm = result.complete
