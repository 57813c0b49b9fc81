"""Model folders that somebody else may have made: weights are read as numbers, and no code in them runs.

``pytorch_model.bin`` and its like are pickles, and a pickle can run code when it is read. A folder may also name Python
files of its own. transformers asks on the terminal whether they shall run, unless it is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from udfs.errors import UsageError

#: What every call of ``from_pretrained`` for a configuration or a tokenizer gets.
NO_CODE: Mapping[str, bool] = {"trust_remote_code": False}
#: What every call of ``from_pretrained`` for weights gets.
SAFE: Mapping[str, bool] = {"use_safetensors": True, **NO_CODE}

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def require_safetensors(folder: Path) -> None:
    """Raise UsageError if the weights in a folder are pickles only."""
    if not folder.is_dir() or any(folder.glob("*.safetensors")):
        return
    pickles = sorted(
        path.name for path in folder.iterdir() if path.suffix in _PICKLES and path.name != "training_args.bin"
    )
    if pickles:
        raise UsageError(
            f"the weights in {folder} are not safetensors but {pickles[0]}, a pickle, which can run code",
            hint="if you trust who made it, convert it where it may run: model.save_pretrained(DIR) writes safetensors",
        )
