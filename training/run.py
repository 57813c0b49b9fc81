"""One run under Composer's Trainer: build the model, load what it starts from, train, evaluate.

A run's folder holds

    run.json             what this run is (see training.anneal)
    model/config.json    the model's configuration, as transformers reads it
    batches/*.parquet    the samples of each batch
    metrics/*.parquet    losses and learning rates
    checkpoints/*.pt     Composer checkpoints
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from composer import Evaluator, Trainer
from composer.algorithms import GradientClipping
from composer.optim import DecoupledAdamW
from composer.utils import parallelism, reproducibility
from torch import nn

from training import checkpoints, data, ranks, schedules
from training.durations import Clock
from training.exports import Export
from training.measurements import Measurements, Meter
from training.models import attention, make, model_vocabulary
from training.objectives import Preparation, objective
from training.provenance import Provenance
from training.recipe import Fsdp, Recipe
from training.schedules import Schedule
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
    """What one run trains. ``parent`` is the trunk's folder, None for the trunk itself."""

    folder: Path
    export: Export
    held_out: Export
    steps: int
    seed: int
    parent: Path | None


def train(job: Job, recipe: Recipe, progress: Progress) -> None:
    """Train a run to its end and evaluate it, from its own last checkpoint if it has one.

    Equal inputs on the same machine with the same number of threads give equal weights, interrupted or not.
    """
    saved = checkpoints.saved(job.folder / "checkpoints")
    length = job.export.sequence_length
    sequences = recipe.batch_tokens // length
    reproducibility.seed_all(recipe.trunk.seed)
    vocabulary, end_of_text = job.export.vocabulary, job.export.manifest.end_of_text or 0
    tokens = model_vocabulary(recipe, vocabulary)
    made = make(recipe.model, tokens, length, end_of_text=end_of_text, attention=attention(recipe.precision))
    made.config.save_pretrained(job.folder / "model")
    model = objective(made, recipe, vocabulary, end_of_text, job.seed)
    optimizer = _optimizer(model, recipe)
    per_rank, rest = divmod(sequences, ranks.count())
    if rest:
        raise UsageError(f"a batch of {sequences:,} sequences cannot be shared equally by {ranks.count()} processes")
    continues = not saved and _same_data(job)
    train_data = data.training_data(job.export, batch_size=per_rank, seed=job.seed, continues=continues)
    measurements = Measurements(job.folder / "metrics")
    start = saved[-1][1] if saved else _last(job.parent) if job.parent else None
    trainer = Trainer(
        model=model,
        optimizers=optimizer,
        schedulers=schedules.scheduler(optimizer, _schedule(job, recipe), recipe.batch_tokens),
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
            checkpoints.Saver(
                job.folder / "checkpoints",
                every=max(1, recipe.checkpoints.every // recipe.batch_tokens) if recipe.checkpoints.every else None,
                last=job.steps,
                keep=recipe.checkpoints.keep,
            ),
        ],
        run_name=job.folder.name,
        load_path=str(start) if start else None,
        load_ignore_keys=None if saved else NOT_INHERITED if continues else [*NOT_INHERITED, "state/dataset_state"],
        load_progress_bar=False,
        progress_bar=False,
        device_train_microbatch_size=min(recipe.microbatch or per_rank, per_rank),
        precision=recipe.precision,
        parallelism_config={"fsdp": _fsdp(recipe.fsdp)} if recipe.fsdp else None,
        seed=recipe.trunk.seed,
    )
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
            data.close(spec)


def _same_data(job: Job) -> bool:
    """Whether a run reads on where its parent stopped: the same samples in the same order."""
    if job.parent is None:
        return False
    parent = json.loads((job.parent / "run.json").read_text(encoding="utf-8"))["identity"]
    return bool((parent["export"], parent["seed"]) == (job.export.manifest.export_id, job.seed))


def _fsdp(settings: Fsdp) -> parallelism.FSDP2Config:
    """Checkpoints stay whole: one file, which any number of processes can read."""
    return parallelism.FSDP2Config(
        reshard_after_forward=settings.reshard_after_forward,
        activation_checkpointing=settings.activation_checkpointing,
        mixed_precision=settings.mixed_precision,
        state_dict_type="full",
    )


def _schedule(job: Job, recipe: Recipe) -> Schedule:
    clock = Clock(job.steps * recipe.batch_tokens, recipe.batch_tokens, job.export.sequence_length)
    if job.parent is None:
        return schedules.of_trunk(recipe.trunk, clock)
    start = schedules.entry_rate(recipe.anneal, checkpoints.learning_rate(_last(job.parent)))
    return schedules.of_anneal(recipe.anneal, start / recipe.trunk.learning_rate, clock)


def _last(parent: Path) -> Path:
    """The checkpoint that an anneal starts from."""
    return checkpoints.saved(parent / "checkpoints")[-1][1]


def _optimizer(model: nn.Module, recipe: Recipe) -> DecoupledAdamW:
    """Weight decay for matrices only: norms and biases are left alone, as in Ettin."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    settings = recipe.optimizer
    first, second = settings.betas
    groups: list[dict[Any, Any]] = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    return DecoupledAdamW(
        groups,
        lr=recipe.trunk.learning_rate,
        betas=(first, second),
        eps=settings.eps,
        weight_decay=settings.weight_decay,
    )


def _evaluators(job: Job, recipe: Recipe) -> list[Evaluator]:
    batch = min(recipe.microbatch or 16, 16)
    limit = recipe.evaluation.samples
    return [
        Evaluator(
            label=component,
            dataloader=data.evaluation_data(job.held_out, component, batch_size=batch),
            metric_names=["loss"],
            subset_num_batches=math.ceil(limit / (batch * ranks.count())) if limit else -1,
        )
        for component in job.held_out.components
    ]
