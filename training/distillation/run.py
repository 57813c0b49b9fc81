"""Train a student under Composer's Trainer. A run's folder is like that of any run (see training.run.trainer)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from composer import DataSpec
from composer.utils import dist, reproducibility
from streaming import Stream, StreamingDataLoader, StreamingDataset
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from training.checkpoint import checkpoints
from training.distillation import models
from training.distillation.examples import COMPONENT
from training.distillation.recipe import Distillation
from training.distillation.students import StudentModel, Weighing
from training.recipe import schedules
from training.recipe.durations import Clock
from training.recipe.exports import Export
from training.run import data
from training.run.optimizers import parameter_groups
from training.run.trainer import Resume, TrainerSetup, fit, make_trainer
from udfs.labels.students.heads_form import HeadsForm
from warehouse.cli.output import Progress


def train(
    recipe: Distillation, folder: Path, export: Export, tokenizer: Path, form: HeadsForm | None, progress: Progress
) -> StudentModel:
    """Train a student to its end in ``folder``, from its own last checkpoint if there is one, and return it.

    Equal inputs on the same machine with the same number of threads give equal weights, interrupted or not.
    """
    saved = checkpoints.saved(folder / "checkpoints")
    reproducibility.seed_all(recipe.seed)
    model = models.make(recipe, tokenizer, form)
    batch_size = recipe.sequences // dist.get_world_size()
    clock = Clock(recipe.steps * recipe.batch_tokens, recipe.batch_tokens, recipe.sequence_length)
    adamw, (first, second) = recipe.optimizer, recipe.optimizer.betas
    optimizer = torch.optim.AdamW(
        parameter_groups(model),
        lr=recipe.learning_rate,
        betas=(first, second),
        eps=adamw.eps,
        weight_decay=adamw.weight_decay,
    )
    setup = TrainerSetup(
        folder=folder,
        steps=recipe.steps,
        model=model,
        optimizer=optimizer,
        clip_norm=adamw.clip_norm,
        schedule=schedules.piecewise(recipe.pieces, clock, "the recipe", 0.0),
        train_data=_data(export, batch_size, recipe.seed),
        batch_size=batch_size,
        preparation=Weighing(model),
        resume=Resume(saved[-1][1] if saved else None),
    )
    fit(make_trainer(recipe, setup, progress), setup, progress)
    return model


class _Sequences(StreamingDataset):
    """Packed examples with their sample ids."""

    def get_item(self, sample_id: int, retry: int = 7) -> dict[str, Any]:
        """Return one sequence by its id."""
        return {**super().get_item(sample_id, retry), "sample_id": int(sample_id)}


def _data(export: Export, batch_size: int, seed: int) -> DataSpec:
    """Make shuffled batches; ``seed`` gives the order. The last, smaller batch of an epoch is dropped."""
    with data.exclusive_start():
        dataset = _Sequences(
            streams=[Stream(local=str(export.folder / COMPONENT))],
            batch_size=batch_size,
            shuffle=True,
            shuffle_seed=seed,
            num_canonical_nodes=data.CANONICAL_NODES,
        )
    length = export.sequence_length
    loader = StreamingDataLoader(dataset, batch_size=batch_size, collate_fn=collate, num_workers=0, drop_last=True)
    return DataSpec(
        loader,
        get_num_samples_in_batch=lambda batch: len(batch["tokens"]),
        # The places of a sequence, filled or not: by these a run's length is counted.
        get_num_tokens_in_batch=lambda batch: len(batch["tokens"]) * length,
    )


def collate(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Join sequences into a batch; see training.distillation.students."""

    def column(name: str, width: int = 0) -> Tensor:
        rows = [torch.from_numpy(sample[name].astype(np.int64)) for sample in samples]
        return pad_sequence([row.view(-1, width) for row in rows] if width else rows, batch_first=True)

    width = len(samples[0]["targets"]) // len(samples[0]["lengths"])
    return {
        "tokens": column("tokens"),
        "lengths": column("lengths"),
        "targets": column("targets", width),
        "sample_ids": torch.tensor([sample["sample_id"] for sample in samples]),
    }
