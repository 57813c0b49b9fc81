"""Composer's Trainer, set up in one way for runs of every kind.

A run's folder holds

    run.json             what this run is (see training.recipe.run_folders)
    model/config.json    the model's configuration, as transformers reads it (training.run.run)
    batches/*.parquet    the samples of each batch
    metrics/*.parquet    losses and learning rates
    checkpoints/*.pt     Composer checkpoints
    log/                 what Composer's own loggers write: rank0.txt, tensorboard/, mlflow/, wandb/
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from composer import Evaluator, Trainer
from composer.algorithms import GradientClipping
from composer.core import Callback, DataSpec
from composer.loggers import FileLogger, LoggerDestination, MLFlowLogger, TensorboardLogger, WandBLogger
from composer.models import ComposerModel
from composer.utils import parallelism
from torch.optim import Optimizer

from training.checkpoint import checkpoints
from training.recipe import schedules
from training.recipe.schedules import Schedule
from training.recipe.settings import Checkpoints, Fsdp
from training.run import data
from training.run.journal import Measurements, Provenance
from training.run.speed import Meter
from udfs.errors import UsageError
from warehouse.cli.output import Progress


class TrainerSettings(Protocol):
    """What the Trainer needs of a recipe, whatever kind of recipe it is."""

    @property
    def batch_tokens(self) -> int: ...
    @property
    def microbatch(self) -> int | None: ...
    @property
    def precision(self) -> str: ...
    @property
    def checkpoints(self) -> Checkpoints: ...
    @property
    def seed(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Resume:
    """Where a run begins: at a checkpoint (None: from fresh state), of which the keys ``ignored`` are not loaded.

    ``starts``: it holds what another run has left (training.checkpoint.reading), and is removed when it is loaded.
    ``continues``: the place in the data is that of another run, which is read on from.
    """

    checkpoint: Path | None = None
    ignored: tuple[str, ...] = ()
    starts: bool = False
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
    clip_norm: float | None
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
        algorithms=[GradientClipping("norm", setup.clip_norm)] if setup.clip_norm else [],
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
            data.close(spec)


def _fsdp(settings: Fsdp) -> parallelism.FSDP2Config:
    """Return Composer's settings. Checkpoints stay whole: one file, which any number of processes can read."""
    return parallelism.FSDP2Config(
        reshard_after_forward=settings.reshard_after_forward,
        activation_checkpointing=settings.activation_checkpointing,
        mixed_precision=settings.mixed_precision,
        state_dict_type="full",
    )


def make_loggers(names: Sequence[str], folder: Path, recipe: str) -> list[LoggerDestination]:
    """Make the ``loggers`` of a recipe for the run in ``folder``. Raises UsageError where one is not installed.

    MLFLOW_TRACKING_URI may name a server; wandb is offline unless WANDB_MODE says otherwise.
    """
    for name in names:
        if name != "file" and find_spec(name) is None:
            raise UsageError(f"loggers: {name} is not installed", hint=f"pip install {name}")
    return [_logger(name, folder / "log", folder.name, recipe) for name in names]


def _logger(name: str, log: Path, run: str, recipe: str) -> LoggerDestination:
    if name == "file":
        path = f"{log}/rank{{rank}}.txt"
        return FileLogger(path, capture_stdout=False, capture_stderr=False, overwrite=True, flush_interval=10)
    if name == "tensorboard":
        return TensorboardLogger(str(log / "tensorboard"), flush_interval=10)
    if name == "mlflow":
        uri = os.environ.get("MLFLOW_TRACKING_URI", (log / "mlflow").resolve().as_uri())
        return MLFlowLogger(experiment_name=recipe, run_name=run, tracking_uri=uri)
    os.environ.setdefault("WANDB_MODE", "offline")
    log.mkdir(parents=True, exist_ok=True)
    return WandBLogger(project=recipe, name=run, init_kwargs={"dir": str(log)})
