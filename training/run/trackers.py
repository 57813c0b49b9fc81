"""Composer's own loggers, in addition to the lake: ``loggers: [file, tensorboard, mlflow, wandb]`` in a recipe.

<run>/log/rank0.txt        file
<run>/log/tensorboard/     tensorboard
<run>/log/mlflow/          mlflow, unless MLFLOW_TRACKING_URI names a server
<run>/log/wandb/           wandb, offline unless WANDB_MODE says otherwise
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from composer.loggers import FileLogger, LoggerDestination, MLFlowLogger, TensorboardLogger, WandBLogger

from udfs.errors import UsageError


def make(names: Sequence[str], folder: Path, recipe: str) -> list[LoggerDestination]:
    """Make the loggers of the run in ``folder``. Raises UsageError where a tracker's package is not installed."""
    for name in names:
        if name != "file" and find_spec(name) is None:
            raise UsageError(f"loggers: {name} is not installed", hint=f"pip install {name}")
    return [_make(name, folder / "log", folder.name, recipe) for name in names]


def _make(name: str, log: Path, run: str, recipe: str) -> LoggerDestination:
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
