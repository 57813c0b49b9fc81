"""Checkpoints that arms start from without a trunk: an earlier run's, or one of Composer's own saver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.checkpoint.conversion import joined, split
from training.checkpoint.reading import read_weights
from training.recipe.recipe import Recipe
from training.recipe.run_folders import read_run_metadata
from training.recipe.settings import Start
from udfs.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class InitCheckpoint:
    """A checkpoint to start from. ``run`` is its run.json; empty without one (another trainer's)."""

    path: Path
    run: Mapping[str, Any]

    @property
    def run_id(self) -> str | None:
        """The run that left it."""
        return self.run.get("run_id")

    @property
    def tokens(self) -> int:
        """Tokens that were trained before, in this run and those it came from; 0 if that is not known."""
        batch = self.path.stem.removeprefix("ba")
        own = int(batch) * self.run["identity"]["batch_tokens"] if self.run and batch.isdigit() else 0
        return own + int(self.run.get("tokens_before", 0))


def find(start: Start) -> InitCheckpoint | None:
    """Find the checkpoint that ``start`` names, None without one."""
    path = named(Path(start.checkpoint))
    return InitCheckpoint(path, read_run_metadata(path.parent.parent)) if path else None


def named(path: Path) -> Path | None:
    """Return a checkpoint by its name: a .pt file, or the last one in a run's folder."""
    files = sorted((path / "checkpoints").glob("ba*.pt"))[-1:] if path.is_dir() else [path]
    return files[0] if files and files[0].is_file() else None


def check(origin: InitCheckpoint | None, recipe: Recipe) -> InitCheckpoint:
    """Return the same checkpoint if the recipe can start there. Raises UsageError.

    An optimizer's state fits the same optimizer and the same kind of model only.
    """
    assert recipe.start is not None
    if origin is None:
        raise UsageError(
            f"no checkpoint to start from in {recipe.start.checkpoint}",
            hint="train that run first, or name another: --set start.checkpoint=runs/RECIPE/ARM-SEED",
        )
    theirs = origin.run.get("identity")
    if theirs and recipe.start.optimizer:
        for what, ours, other in (
            ("optimizer", recipe.optimizer.name, theirs["optimizer"]["name"]),
            ("model", recipe.model.kind, theirs["model"]["kind"]),
        ):
            if ours != other:
                raise UsageError(
                    f"{origin.path} has the state of another {what}: {other}, not {ours}",
                    hint="to take the weights alone: --set start.optimizer=false",
                )
    return origin


def at(folder: Path, batch: int) -> Path:
    """Return where a run's checkpoint of a batch is, or would be."""
    return folder / "checkpoints" / f"ba{batch:012}.pt"


def load_weights(checkpoint: Path, model: PreTrainedModel, *, trust: bool = False) -> None:
    """Give a model the weights of a checkpoint, converted if that is a ModernBERT of the other kind.

    The vocabulary may differ by the mask token, the last id: its embedding is left out, or stays fresh. Raises
    UsageError if the checkpoint holds a model of other sizes.
    """
    import torch

    weights = read_weights(checkpoint, trust=trust)
    wanted: Mapping[str, Tensor] = model.state_dict()
    if (has := _is_encoder(weights)) != (wants := _is_encoder(wanted)):
        weights = split(weights) if has and not wants else joined(weights)
    for name, tensor in weights.items():
        target = wanted.get(name)
        if target is None or tensor.shape == target.shape:
            continue
        rows = min(len(tensor), len(target))
        if tensor.shape[1:] == target.shape[1:] and abs(len(tensor) - len(target)) == 1:
            weights[name] = torch.cat([tensor[:rows], target[rows:]])
    if other := [name for name in {*weights, *wanted} if _shape(weights, name) != _shape(wanted, name)]:
        name = min(other)
        raise UsageError(
            f"{checkpoint} holds another model: {name} is {_shape(weights, name)}, the recipe's {_shape(wanted, name)}",
            hint="model must say the sizes that the checkpoint was trained with",
        )
    model.load_state_dict(weights)


def _is_encoder(weights: Mapping[str, Any]) -> bool:
    return any("attn.Wqkv." in name for name in weights)


def _shape(weights: Mapping[str, Tensor], name: str) -> str:
    return "×".join(map(str, weights[name].shape)) if name in weights else "absent"
