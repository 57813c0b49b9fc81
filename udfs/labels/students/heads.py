"""An encoder with one classification head per category and rank. Importing this module imports torch.

A text is read once for all categories, and nothing is written token by token: Essential-Web's authors measured 2.7
times the throughput of their distilled model with a head in place of written labels (arXiv 2506.14111, table 12).
Heads are trained elsewhere; here is what they are, how they are saved, loaded and asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from udfs.errors import LabelerError, Location
from udfs.labels.sampling import sample
from udfs.labels.students.heads_form import ENCODER, HEADS, HeadsForm
from udfs.labels.taxonomies.taxonomy import ABSTAIN
from udfs.model_folders import SAFE, require_safetensors

_TOKENIZER = "tokenizer.json"

Pair = tuple[str, str | None]


class Heads(nn.Module):
    """A Hugging Face encoder, and linear heads on its pooled last layer."""

    def __init__(self, encoder: Any, form: HeadsForm) -> None:
        """Make new heads for an encoder with ``config.hidden_size``."""
        super().__init__()
        self.form = form
        self.encoder = encoder
        # Flat, and with a prefix: a module's name may neither hold a dot nor be that of one of its methods.
        self.heads = nn.ModuleDict(
            {_module(name): nn.Linear(encoder.config.hidden_size, n) for name, n in form.outputs().items()}
        )

    def forward(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Logits, documents × outputs, by head (``CATEGORY.RANK``). ``ids`` and ``mask`` are documents × tokens."""
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        if self.form.pooling == "first":
            pooled = states[:, 0]
        else:
            weights = mask[..., None].to(states.dtype)
            pooled = (states * weights).sum(1) / weights.sum(1)
        return {name: self.heads[_module(name)](pooled) for name in self.form.outputs()}

    def codes(self, logits: Mapping[str, Tensor]) -> dict[str, list[Pair]]:
        """Return the codes that logits stand for: per category each document's primary, and its secondary or None.

        The likeliest primary is taken, then the likeliest secondary that is neither it nor an abstention; a document
        that abstains has none.
        """
        return {name: self._pairs(name, codes, logits) for name, codes in self.form.categories.items()}

    def save(self, folder: Path, tokenizer: Path) -> None:
        """Write the folder. ``tokenizer`` is the encoder's tokenizer.json."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        self.encoder.save_pretrained(folder / ENCODER)
        (folder / ENCODER / _TOKENIZER).write_bytes(tokenizer.read_bytes())
        tensors = {
            f"{name}.{part}": value.detach().cpu().contiguous()
            for name in self.form.outputs()
            for part, value in self.heads[_module(name)].state_dict().items()
        }
        save_file(tensors, folder / HEADS)
        self.form.write(folder)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Heads:
        """Load the model in a folder. Raises LabelerError."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file
        from transformers import AutoModel

        form = HeadsForm.read(folder)
        try:
            require_safetensors(folder / ENCODER)
            encoder: Any = AutoModel.from_pretrained(folder / ENCODER, local_files_only=True, **SAFE)
            tensors = load_file(folder / HEADS)
            model = cls(encoder, form)
            for name in form.outputs():
                state = {part: tensors.pop(f"{name}.{part}") for part in ("weight", "bias")}
                model.heads[_module(name)].load_state_dict(state)
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise LabelerError(f"the heads in {folder} cannot be loaded: {error}") from error
        if tensors:
            message = f"{next(iter(tensors))} belongs to no head of the configuration"
            raise LabelerError(message, where=Location(str(folder / HEADS)))
        return model.to(device=device, dtype=dtype).eval()

    def _pairs(self, name: str, codes: Sequence[str], logits: Mapping[str, Tensor]) -> list[Pair]:
        first = logits[f"{name}.primary"].argmax(1)
        primary = [codes[index] for index in first.tolist()]
        if f"{name}.secondary" not in logits:
            return [(code, None) for code in primary]
        scores = logits[f"{name}.secondary"].clone()
        scores[torch.arange(len(primary)), first + 1] = -torch.inf
        if ABSTAIN in codes:
            scores[:, codes.index(ABSTAIN) + 1] = -torch.inf
        second = scores.argmax(1).tolist()
        return [
            (code, None if index == 0 or code == ABSTAIN else codes[index - 1])
            for code, index in zip(primary, second, strict=True)
        ]


class HeadsReader:
    """Turns documents into what an encoder reads of them."""

    def __init__(self, tokenizer: Path, form: HeadsForm) -> None:
        """``tokenizer`` is a tokenizer.json. Raises LabelerError."""
        from tokenizers import Tokenizer

        try:
            self._tokenizer: Any = Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # the library raises bare Exception
            raise LabelerError(f"not a tokenizer: {error}", where=Location(str(tokenizer))) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        probe = self._tokenizer.encode("a")
        text = [index for index, special in enumerate(probe.special_tokens_mask) if not special] or [0]
        self._before, self._after = probe.ids[: text[0]], probe.ids[text[-1] + 1 :]  # such as [CLS] and [SEP]
        self._tokenizer.encode_special_tokens = True  # "[SEP]" inside a text is text
        self._form = form

    @classmethod
    def of(cls, folder: Path, form: HeadsForm) -> HeadsReader:
        """Make the reader of a saved model."""
        return cls(folder / ENCODER / _TOKENIZER, form)

    def read(self, keys: Sequence[str], texts: Sequence[str]) -> list[list[int]]:
        """Token ids of documents, special tokens around them; of a long one each part gets its share of tokens."""
        parts = [sample(text, key, self._form.characters) for key, text in zip(keys, texts, strict=True)]
        flat = [part for each in parts for part in each]
        encoded = iter(self._tokenizer.encode_batch_fast(flat, add_special_tokens=False))
        room = self._form.tokens - len(self._before) - len(self._after)
        read = []
        for each in parts:
            tokens = [token for _ in each for token in next(encoded).ids[: room // len(each)]]
            read.append([*self._before, *tokens, *self._after] or [0])  # an encoder needs one token at least
        return read


def padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids as a matrix padded on the right, and its mask."""
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    return ids, mask


def _module(name: str) -> str:
    return "head_" + name.replace(".", "__")
