"""Where a model's files are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from udfs.errors import CuveeError

if TYPE_CHECKING:
    from udfs.labels.spec import Model

#: Everything but weights.
_SMALL = ["*.json", "*.jinja", "*.txt", "*.model"]


def tokenizer_folder(model: Model) -> Path:
    """Return the folder with the model's tokenizer: its own, or one that Hugging Face's client has or gets.

    Raises CuveeError if it cannot be had.
    """
    if model.folder is not None:
        return model.folder
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise CuveeError("a model given by its id needs the package huggingface_hub") from error
    try:
        return Path(snapshot_download(model.source, revision=model.revision, allow_patterns=_SMALL))
    except Exception as error:  # of many kinds: no network, no such model, no permission
        raise CuveeError(
            f"cannot get the model {model.id} at {model.revision}: {error}",
            hint="download it where there is a network, and name the folder: model: {folder: …}",
        ) from error
