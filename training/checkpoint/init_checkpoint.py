"""Where arms start from when a recipe has no trunk: a checkpoint of an earlier run, or of Composer's own saver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.checkpoint.conversion import joined, split
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
    def identity(self) -> dict[str, Any]:
        """What of it decides the outcome of a run that starts here."""
        return {"run": self.run_id, "checkpoint": self.path.name}

    @property
    def tokens(self) -> int:
        """Tokens that were trained before, in this run and those it came from; 0 if that is not known."""
        batch = self.path.stem.removeprefix("ba")
        own = int(batch) * self.run["identity"]["batch_tokens"] if self.run and batch.isdigit() else 0
        return own + int(self.run.get("tokens_before", 0))


def find(start: Start) -> InitCheckpoint | None:
    """Find the checkpoint that ``start`` names: a .pt file, or the last one in a run's folder. None without one."""
    named = Path(start.checkpoint)
    files = sorted((named / "checkpoints").glob("ba*.pt"))[-1:] if named.is_dir() else [named]
    if not files or not files[0].is_file():
        return None
    return InitCheckpoint(files[0], read_run_metadata(files[0].parent.parent))


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


def load_weights(checkpoint: Path, model: PreTrainedModel) -> None:
    """Give a model the weights of a checkpoint, converted if that is a ModernBERT of the other kind.

    The vocabulary may differ by the mask token, the last id: its embedding is left out, or stays fresh. Raises
    UsageError if the checkpoint holds a model of other sizes.
    """
    import torch

    content = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=False)  # our own file
    weights: dict[str, Tensor] = {
        name.removeprefix("scorer.model."): tensor for name, tensor in content["state"]["model"].items()
    }
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
