"""Reading a checkpoint's file as values. A checkpoint is a pickle, and a pickle can run code when it is read.

So a file is read with torch's unpickler for weights: numbers, texts, containers, and of the rest only what Composer
stores. A file that needs more is refused, unless the caller trusts it.

Composer itself would read any pickle, and evaluates the text ``repr`` of each of its algorithms that is in a file. It
therefore sees a checkpoint that another run has left only as ``write_start`` has written it again, and one of its own
run only after ``check``.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udfs.errors import UsageError, first_line

if TYPE_CHECKING:
    from torch import Tensor

#: What a run takes from a checkpoint that it starts from: weights, the optimizer's state, the place in the data. Not
#: the clock, the schedule, what callbacks and metrics remember, the random state.
INHERITED = ("model", "optimizers", "scaler", "dataset_state")

#: The algorithms that runs have. They keep no state; any other name is not of a run of ours.
_ALGORITHMS = {"GradientClipping"}


class CheckpointError(UsageError):
    """A file is not a checkpoint, or must not be read as one."""


def read_state(checkpoint: Path, *, trust: bool = False) -> dict[str, Any]:
    """Return the state in a checkpoint. Its tensors are mapped from the file.

    ``trust`` reads whatever is in the file, and runs what code it brings. Raises CheckpointError.
    """
    import torch

    try:
        with torch.serialization.safe_globals(_stored_by_composer()):
            content: Any = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=not trust)
    except Exception as error:  # of any kind: the bytes are foreign
        raise _refusal(checkpoint, error, trust) from error
    state = content.get("state") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise CheckpointError(f"{checkpoint} is not a checkpoint of Composer: it has no state of a model")
    return state


def check(checkpoint: Path, *, trust: bool = False) -> None:
    """Check that Composer may read a checkpoint of its own run. Raises CheckpointError."""
    if trust:
        return
    found = read_state(checkpoint).get("algorithms") or []
    names = {each[0] if isinstance(each, tuple | list) and each else each for each in found}
    if other := sorted(str(name) for name in names if name not in _ALGORITHMS):
        raise CheckpointError(
            f"{checkpoint} was not left by a run of this kind: Composer would make the algorithm {other[0]} of it",
            hint="remove the file, or train in another folder: --out",
        )


def write_start(checkpoint: Path, target: Path, *, trust: bool = False) -> None:
    """Write what a run inherits of a checkpoint into a file that Composer may read. Raises CheckpointError."""
    import torch

    state = read_state(checkpoint, trust=trust)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_suffix(".part")
    torch.save({"state": {**{key: state[key] for key in INHERITED if key in state}, "algorithms": []}}, aside)
    aside.rename(target)


def learning_rates(checkpoint: Path, *, trust: bool = False) -> tuple[float, float]:
    """Return the rate that the checkpoint's next batch would have been trained with, and the peak of its schedule."""
    state = read_state(checkpoint, trust=trust)
    try:
        (optimizer,) = state["optimizers"].values()
        group = optimizer["param_groups"][0]
        return float(group["lr"]), float(group["initial_lr"])
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(
            f"{checkpoint} does not say the learning rate of its optimizer", hint="it holds the weights alone"
        ) from error


def read_weights(checkpoint: Path, *, trust: bool = False) -> dict[str, Tensor]:
    """Return the weights in a checkpoint under the names that transformers gives them."""
    import torch

    weights = read_state(checkpoint, trust=trust)["model"]
    if other := [name for name, each in weights.items() if not isinstance(each, torch.Tensor)]:
        raise CheckpointError(f"{checkpoint} is not a checkpoint of Composer: {other[0]} is no tensor")
    return {str(name).removeprefix("scorer.model."): tensor for name, tensor in weights.items()}


def _stored_by_composer() -> list[Any]:
    """List the kinds of values in Composer's files that torch does not know: clock times, and arrays of numbers.

    An array that numpy 1 has written names the module by its old name.
    """
    import numpy as np
    from torch.torch_version import TorchVersion

    multiarray: Any = getattr(np, "_core", None) or np.core  # type: ignore[attr-defined]
    rebuild, scalar = multiarray.multiarray._reconstruct, multiarray.multiarray.scalar
    kinds = {type(np.dtype(code)) for code in "?" + np.typecodes["AllInteger"] + np.typecodes["AllFloat"]}
    names = [
        (each, f"numpy.{core}.multiarray.{each.__name__}") for core in ("core", "_core") for each in (rebuild, scalar)
    ]
    return [np.ndarray, np.dtype, *kinds, *names, datetime.timedelta, TorchVersion]


def _refusal(checkpoint: Path, error: Exception, trust: bool) -> CheckpointError:
    if isinstance(error, OSError):
        return CheckpointError(f"cannot read {checkpoint}: {error.strerror or error}")
    needs = [] if trust else _needs(checkpoint)
    if needs:
        return CheckpointError(
            f"{checkpoint} needs more than numbers to be read: {', '.join(needs[:3])}. It may run code",
            hint="--trust reads it nevertheless; use it only if you trust whoever made the file",
        )
    return CheckpointError(f"{checkpoint} is not a whole checkpoint of Composer: {first_line(error)}")


def _needs(checkpoint: Path) -> list[str]:
    """List what a file names that is neither of torch nor of Composer's. Runs nothing."""
    import torch

    try:
        with torch.serialization.safe_globals(_stored_by_composer()):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(checkpoint)))
    except Exception:  # not a file of torch.save
        return []
