"""Composer's Trainer, set up in one way for runs of every kind.

A run's folder holds

    run.json             what this run is (see training.recipe.run_folders)
    model/config.json    the model's configuration, as transformers reads it (training.run.run)
    batches/*.parquet    the samples of each batch
    metrics/*.parquet    losses and learning rates
    checkpoints/*.pt     Composer checkpoints
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from composer import Evaluator, Trainer
from composer.algorithms import GradientClipping
from composer.core import Callback, DataSpec
from composer.loggers import LoggerDestination
from composer.models import ComposerModel
from composer.utils import parallelism
from torch.optim import Optimizer

from training.checkpoint import checkpoints
from training.recipe import schedules
from training.recipe.schedules import Schedule
from training.recipe.settings import Checkpoints, Fsdp
from training.run import stages
from training.run.measurements import Measurements, Meter
from training.run.provenance import Provenance
from warehouse.cli.output import Progress


class ClipSettings(Protocol):
    """What the Trainer needs of an optimizer's settings."""

    @property
    def clip_norm(self) -> float | None: ...


class TrainerSettings(Protocol):
    """What the Trainer needs of a recipe, whatever kind of recipe it is."""

    @property
    def batch_tokens(self) -> int: ...
    @property
    def microbatch(self) -> int | None: ...
    @property
    def optimizer(self) -> ClipSettings: ...
    @property
    def precision(self) -> str: ...
    @property
    def checkpoints(self) -> Checkpoints: ...
    @property
    def seed(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Resume:
    """Where a run begins: at a checkpoint (None: from fresh state), of which the keys ``ignored`` are not loaded.

    ``continues``: the place in the data is that of another run, which is read on from.
    """

    checkpoint: Path | None = None
    ignored: tuple[str, ...] = ()
    continues: bool = False


@dataclass(frozen=True, slots=True)
class TrainerSetup:
    """What one run gives the Trainer besides its recipe.

    ``batch_size`` counts the sequences of one process. ``preparation`` completes each batch before it is cut into
    microbatches. ``callbacks`` are further ones, ``marks`` batches whose checkpoints others start from.
    """

    folder: Path
    steps: int
    model: ComposerModel
    optimizer: Optimizer
    schedule: Schedule
    train_data: DataSpec
    batch_size: int
    preparation: Callback
    resume: Resume = Resume()
    evaluators: tuple[Evaluator, ...] = ()
    evaluated_every: str | int = 0
    callbacks: tuple[Callback, ...] = ()
    loggers: tuple[LoggerDestination, ...] = ()
    marks: tuple[int, ...] = ()
    fsdp: Fsdp | None = None


def make_trainer(recipe: TrainerSettings, setup: TrainerSetup, progress: Progress) -> Trainer:
    """Make the Trainer of a run, and load the checkpoint that the run begins at."""
    every = recipe.checkpoints.every
    saver = checkpoints.Saver(
        setup.folder / "checkpoints",
        every=max(1, every // recipe.batch_tokens) if every else None,
        last=setup.steps,
        keep=recipe.checkpoints.keep,
        marks=setup.marks,
    )
    return Trainer(
        model=setup.model,
        optimizers=setup.optimizer,
        schedulers=schedules.scheduler(setup.optimizer, setup.schedule, recipe.batch_tokens),
        step_schedulers_every_batch=True,
        train_dataloader=setup.train_data,
        max_duration=f"{setup.steps}ba",
        eval_dataloader=setup.evaluators or None,
        eval_interval=setup.evaluated_every,
        algorithms=[GradientClipping("norm", recipe.optimizer.clip_norm)] if recipe.optimizer.clip_norm else [],
        callbacks=[
            setup.preparation,
            Provenance(setup.folder / "batches"),
            Measurements(setup.folder / "metrics"),
            Meter(progress, setup.steps * recipe.batch_tokens),
            *setup.callbacks,
            saver,
        ],
        loggers=list(setup.loggers),
        run_name=setup.folder.name,
        load_path=str(setup.resume.checkpoint) if setup.resume.checkpoint else None,
        load_ignore_keys=list(setup.resume.ignored) or None,
        load_progress_bar=False,
        progress_bar=False,
        device_train_microbatch_size=min(recipe.microbatch or setup.batch_size, setup.batch_size),
        precision=recipe.precision,
        parallelism_config={"fsdp": _fsdp(setup.fsdp)} if setup.fsdp else None,
        seed=recipe.seed,
    )


def fit(trainer: Trainer, setup: TrainerSetup, progress: Progress) -> None:
    """Train to the end of the run and evaluate it, then stop the threads of its data."""
    close: Callable[[], None] = trainer.close
    progress.advance(int(trainer.state.timestamp.token))
    try:
        if trainer.state.timestamp.batch < setup.steps:
            trainer.fit()
        if setup.evaluators:
            trainer.eval()
        for callback in trainer.state.callbacks:
            if isinstance(callback, Measurements):
                callback.flush()
    finally:
        close()
        for spec in (setup.train_data, *(evaluator.dataloader for evaluator in trainer.state.evaluators)):
            stages.close(spec)


def _fsdp(settings: Fsdp) -> parallelism.FSDP2Config:
    """Return Composer's settings. Checkpoints stay whole: one file, which any number of processes can read."""
    return parallelism.FSDP2Config(
        reshard_after_forward=settings.reshard_after_forward,
        activation_checkpointing=settings.activation_checkpointing,
        mixed_precision=settings.mixed_precision,
        state_dict_type="full",
    )
