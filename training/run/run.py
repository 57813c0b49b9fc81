"""One run on mixtures: build the model, load what it starts from, train, evaluate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from composer import Evaluator
from composer.core import DataSpec
from composer.utils import reproducibility

from training.checkpoint import checkpoints, init_checkpoint, reading
from training.checkpoint.models import attention, make, model_vocabulary
from training.recipe import schedules
from training.recipe.durations import Clock
from training.recipe.exports import Export, Reading
from training.recipe.recipe import Recipe
from training.recipe.schedules import Schedule
from training.run import data, distributed, optimizers
from training.run.objectives import LanguageModel, Preparation, objective
from training.run.speed import Speed
from training.run.trainer import Resume, TrainerSetup, fit, make_loggers, make_trainer
from udfs.errors import UsageError
from warehouse.cli.output import Progress

#: What a run inherits of another one's checkpoint, while it begins. Composer reads this file and no other.
START = "start.pt"


@dataclass(frozen=True, slots=True)
class Job:
    """What one run trains.

    ``readings`` follow one another. ``start`` is the checkpoint that it starts from (None: fresh weights, on the
    trunk's schedule), with the optimizer's state or without; ``marks`` are batches whose checkpoints others start from.
    ``trust``: see training.checkpoint.reading.
    """

    folder: Path
    readings: tuple[Reading, ...]
    held_out: Export
    steps: int
    seed: int
    start: Path | None
    optimizer: bool = True
    marks: tuple[int, ...] = ()
    trust: bool = False


def train(job: Job, recipe: Recipe, progress: Progress) -> None:
    """Train a run to its end and evaluate it, from its own last checkpoint if it has one.

    Equal inputs on the same machine with the same number of threads give equal weights, interrupted or not.
    """
    resume = _resume(job)
    reproducibility.seed_all(recipe.seed)
    model = _model(job, recipe, resume)
    peak, schedule = _schedule(job, recipe)
    optimizer = optimizers.make(model, recipe.optimizer, peak)
    batch_size = _batch_size(job, recipe)
    setup = TrainerSetup(
        folder=job.folder,
        steps=job.steps,
        model=model,
        optimizer=optimizer,
        clip_norm=recipe.optimizer.clip_norm,
        schedule=schedule,
        train_data=_train_data(job, batch_size, resume),
        batch_size=batch_size,
        preparation=Preparation(model),
        resume=resume,
        evaluators=_evaluators(job, recipe),
        evaluated_every=f"{max(1, recipe.evaluation.every // recipe.batch_tokens)}ba" if recipe.evaluation.every else 0,
        callbacks=(Speed(job.folder, job.steps),) if distributed.is_rank_zero() else (),
        loggers=tuple(make_loggers(recipe.loggers, job.folder, recipe.name)),
        marks=job.marks,
        fsdp=recipe.fsdp,
    )
    trainer = make_trainer(recipe, setup, progress)
    if resume.starts:  # the optimizer's state is that of another run
        distributed.barrier()
        if distributed.is_rank_zero():
            (job.folder / START).unlink()
        optimizers.set_again(optimizer, recipe.optimizer, peak * schedule(0))
    fit(trainer, setup, progress)


def _resume(job: Job) -> Resume:
    own = checkpoints.saved(job.folder / "checkpoints")
    if own:
        reading.check(own[-1][1], trust=job.trust)
        return Resume(own[-1][1])  # it was interrupted: all of its last checkpoint is its own
    if job.start is None or not job.optimizer:
        return Resume()  # no optimizer's state to take: the Trainer loads nothing
    file = _start_file(job)
    if len(job.readings) == 1 and data.reads_on(file, job.readings[0].export, job.seed):
        return Resume(file, starts=True, continues=True)  # where the run that it starts from has stopped
    return Resume(file, ("state/dataset_state",), starts=True)  # another mixture or seed: from the beginning


def _start_file(job: Job) -> Path:
    """Write what the run inherits into its folder, where Composer reads it."""
    assert job.start is not None
    file = job.folder / START
    if distributed.is_rank_zero():
        reading.write_start(job.start, file, trust=job.trust)
    distributed.barrier()
    return file


def _model(job: Job, recipe: Recipe, resume: Resume) -> LanguageModel:
    """Make the model under its objective, and write its configuration into the run's folder."""
    export = job.readings[0].export
    vocabulary, end_of_text = export.vocabulary, export.manifest.end_of_text or 0
    model = make(
        recipe.model,
        model_vocabulary(recipe, vocabulary),
        export.sequence_length,
        end_of_text=end_of_text,
        attention=attention(recipe.precision),
    )
    if job.start and resume.checkpoint is None:
        init_checkpoint.load_weights(job.start, model, trust=job.trust)
    model.config.save_pretrained(job.folder / "model")
    return objective(model, recipe, vocabulary, end_of_text, job.seed)


def _schedule(job: Job, recipe: Recipe) -> tuple[float, Schedule]:
    """Return the peak learning rate, and the schedule that is relative to it."""
    clock = Clock(job.steps * recipe.batch_tokens, recipe.batch_tokens, job.held_out.sequence_length)
    if job.start is None:
        assert recipe.trunk is not None
        return recipe.trunk.learning_rate, schedules.of_trunk(recipe.trunk, clock)
    current, peak = reading.learning_rates(job.start, trust=job.trust)
    entry = schedules.entry_rate(recipe.anneal, current)
    if not job.optimizer:
        peak = entry
    return peak, schedules.of_anneal(recipe.anneal, entry / peak, clock)


def _batch_size(job: Job, recipe: Recipe) -> int:
    """Return how many sequences of a batch one process reads."""
    sequences = recipe.batch_tokens // job.readings[0].export.sequence_length
    own, rest = divmod(sequences, distributed.world_size())
    if rest:
        raise UsageError(
            f"a batch of {sequences:,} sequences cannot be shared equally by {distributed.world_size()} processes"
        )
    return own


def _train_data(job: Job, batch_size: int, resume: Resume) -> DataSpec:
    if len(job.readings) > 1:
        return data.staged_data(job.readings, batch_size=batch_size, seed=job.seed)
    export = job.readings[0].export
    return data.training_data(export, batch_size=batch_size, seed=job.seed, continues=resume.continues)


def _evaluators(job: Job, recipe: Recipe) -> tuple[Evaluator, ...]:
    batch = min(recipe.microbatch or 16, 16)
    limit = recipe.evaluation.samples
    return tuple(
        Evaluator(
            label=component,
            dataloader=data.evaluation_data(job.held_out, component, batch_size=batch),
            metric_names=["loss", "accuracy"],
            subset_num_batches=math.ceil(limit / (batch * distributed.world_size())) if limit else -1,
        )
        for component in job.held_out.components
    )
