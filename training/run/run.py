"""One run under Composer's Trainer: build the model, load what it starts from, train, evaluate.

A run's folder holds

    run.json             what this run is (see training.sweep.anneal)
    model/config.json    the model's configuration, as transformers reads it
    batches/*.parquet    the samples of each batch
    metrics/*.parquet    losses and learning rates
    checkpoints/*.pt     Composer checkpoints
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from composer import Evaluator, Trainer
from composer.algorithms import GradientClipping
from composer.utils import parallelism, reproducibility

from training.checkpoint import checkpoints, init_checkpoint
from training.checkpoint.models import attention, make, model_vocabulary
from training.recipe import schedules
from training.recipe.durations import Clock
from training.recipe.exports import Export, Reading
from training.recipe.recipe import Recipe
from training.recipe.schedules import Schedule
from training.recipe.settings import Fsdp
from training.run import data, distributed, optimizers, stages, trackers
from training.run.measurements import Measurements, Meter
from training.run.objectives import Preparation, objective
from training.run.provenance import Provenance
from training.run.speed import Speed
from udfs.errors import UsageError
from warehouse.cli.output import Progress

#: What an anneal does not take from the trunk's checkpoint: the clock, the schedule, what callbacks and metrics
#: remember, the random state; and, unless mixture and seed are the trunk's, the place in the data. Weights and the
#: optimizer's state remain.
NOT_INHERITED = [
    "state/timestamp",
    "state/schedulers",
    "state/callbacks",
    "state/train_metrics",
    "state/eval_metrics",
    "state/rank_zero_seed",
    "rng",
]


@dataclass(frozen=True, slots=True)
class Job:
    """What one run trains.

    ``readings`` follow one another. ``start`` is the checkpoint that it starts from (None: fresh weights, on the
    trunk's schedule), with the optimizer's state or without; ``marks`` are batches whose checkpoints others start from.
    """

    folder: Path
    readings: tuple[Reading, ...]
    held_out: Export
    steps: int
    seed: int
    start: Path | None
    optimizer: bool = True
    marks: tuple[int, ...] = ()


def train(job: Job, recipe: Recipe, progress: Progress) -> None:
    """Train a run to its end and evaluate it, from its own last checkpoint if it has one.

    Equal inputs on the same machine with the same number of threads give equal weights, interrupted or not.
    """
    saved = checkpoints.saved(job.folder / "checkpoints")
    export = job.readings[0].export
    length = export.sequence_length
    sequences = recipe.batch_tokens // length
    reproducibility.seed_all(recipe.seed)
    vocabulary, end_of_text = export.vocabulary, export.manifest.end_of_text or 0
    tokens = model_vocabulary(recipe, vocabulary)
    made = make(recipe.model, tokens, length, end_of_text=end_of_text, attention=attention(recipe.precision))
    if job.start and not job.optimizer and not saved:
        init_checkpoint.put(job.start, made)
    made.config.save_pretrained(job.folder / "model")
    model = objective(made, recipe, vocabulary, end_of_text, job.seed)
    peak, schedule = _schedule(job, recipe)
    optimizer = optimizers.make(model, recipe.optimizer, peak)
    per_rank, rest = divmod(sequences, distributed.count())
    if rest:
        raise UsageError(
            f"a batch of {sequences:,} sequences cannot be shared equally by {distributed.count()} processes"
        )
    inherited = job.start if job.optimizer and not saved else None
    staged = len(job.readings) > 1
    continues = inherited is not None and not staged and data.reads_on(inherited, export, job.seed)
    train_data = (
        stages.training_data(job.readings, batch_size=per_rank, seed=job.seed)
        if staged
        else data.training_data(export, batch_size=per_rank, seed=job.seed, continues=continues)
    )
    measurements = Measurements(job.folder / "metrics")
    start = saved[-1][1] if saved else inherited
    trainer = Trainer(
        model=model,
        optimizers=optimizer,
        schedulers=schedules.scheduler(optimizer, schedule, recipe.batch_tokens),
        step_schedulers_every_batch=True,
        train_dataloader=train_data,
        max_duration=f"{job.steps}ba",
        eval_dataloader=_evaluators(job, recipe),
        eval_interval=f"{max(1, recipe.evaluation.every // recipe.batch_tokens)}ba" if recipe.evaluation.every else 0,
        algorithms=[GradientClipping("norm", recipe.optimizer.clip_norm)] if recipe.optimizer.clip_norm else [],
        callbacks=[
            Preparation(model),
            Provenance(job.folder / "batches"),
            measurements,
            Meter(progress, job.steps * recipe.batch_tokens),
            *([Speed(job.folder, job.steps)] if distributed.first() else []),
            checkpoints.Saver(
                job.folder / "checkpoints",
                every=max(1, recipe.checkpoints.every // recipe.batch_tokens) if recipe.checkpoints.every else None,
                last=job.steps,
                keep=recipe.checkpoints.keep,
                marks=job.marks,
            ),
        ],
        loggers=trackers.make(recipe.loggers, job.folder, recipe.name),
        run_name=job.folder.name,
        load_path=str(start) if start else None,
        load_ignore_keys=None if saved else NOT_INHERITED if continues else [*NOT_INHERITED, "state/dataset_state"],
        load_progress_bar=False,
        progress_bar=False,
        device_train_microbatch_size=min(recipe.microbatch or per_rank, per_rank),
        precision=recipe.precision,
        parallelism_config={"fsdp": _fsdp(recipe.fsdp)} if recipe.fsdp else None,
        seed=recipe.seed,
    )
    if inherited:
        optimizers.set_again(optimizer, recipe.optimizer, peak * schedule(0))
    close: Callable[[], None] = trainer.close
    progress.advance(int(trainer.state.timestamp.token))
    try:
        if trainer.state.timestamp.batch < job.steps:
            trainer.fit()
        trainer.eval()
        measurements.flush()
    finally:
        close()
        for spec in (train_data, *(evaluator.dataloader for evaluator in trainer.state.evaluators)):
            stages.close(spec)


def _fsdp(settings: Fsdp) -> parallelism.FSDP2Config:
    """Checkpoints stay whole: one file, which any number of processes can read."""
    return parallelism.FSDP2Config(
        reshard_after_forward=settings.reshard_after_forward,
        activation_checkpointing=settings.activation_checkpointing,
        mixed_precision=settings.mixed_precision,
        state_dict_type="full",
    )


def _schedule(job: Job, recipe: Recipe) -> tuple[float, Schedule]:
    """The peak learning rate, and the schedule that is relative to it."""
    clock = Clock(job.steps * recipe.batch_tokens, recipe.batch_tokens, job.held_out.sequence_length)
    if job.start is None:
        assert recipe.trunk is not None
        return recipe.trunk.learning_rate, schedules.of_trunk(recipe.trunk, clock)
    current, peak = checkpoints.learning_rates(job.start)
    entry = schedules.entry_rate(recipe.anneal, current)
    if not job.optimizer:
        peak = entry
    return peak, schedules.of_anneal(recipe.anneal, entry / peak, clock)


def _evaluators(job: Job, recipe: Recipe) -> list[Evaluator]:
    batch = min(recipe.microbatch or 16, 16)
    limit = recipe.evaluation.samples
    return [
        Evaluator(
            label=component,
            dataloader=data.evaluation_data(job.held_out, component, batch_size=batch),
            metric_names=["loss", "accuracy"],
            subset_num_batches=math.ceil(limit / (batch * distributed.count())) if limit else -1,
        )
        for component in job.held_out.components
    ]
