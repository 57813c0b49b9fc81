"""Labelers with the backend ``heads``: an encoder with classification heads (``udfs.labels.students.heads``)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from udfs.errors import CuveeError
from udfs.expensive import fingerprint
from udfs.labels.backends.settings import HeadsSettings
from udfs.labels.labeler import Codes, EncoderLabeler, Window, readable
from udfs.labels.spec import Spec
from udfs.labels.students.heads_form import HeadsForm

if TYPE_CHECKING:
    from udfs.labels.students.heads import Heads, HeadsReader, Pair

#: Tokens of a batch. On a CPU, what an encoder works on should stay in the caches: one of 10 layers of width 384 reads
#: 37.5 documents of 140 tokens a second with 2,048, 32.6 with 4,096 and 28.7 with 8,192.
_ON_CPU, _ON_GPU = 2_048, 16_384

#: Raised when the code changes verdicts and no setting does.
_VERSION = 1


def heads_labeler(spec: Spec) -> HeadsLabeler:
    """Return the labeler of a folder with heads. Loads no model. Raises CuveeError if the folder does not fit."""
    model = spec.model
    assert model is not None
    if model.folder is None or model.quantization or model.adapter or model.trust_remote_code:
        raise CuveeError(
            f"the labeler {spec.name} needs a folder with an encoder and heads, and nothing else",
            hint="write model: {folder: …}, and dtype: bfloat16 if it is to be faster on a GPU",
        )
    form = HeadsForm.read(model.folder)
    form.check(spec.taxonomy, model.folder)
    return HeadsLabeler(spec, form)


class HeadsLabeler(EncoderLabeler):
    """Labels documents by the heads of an encoder."""

    def __init__(self, spec: Spec, form: HeadsForm) -> None:
        self.name = spec.name
        self.taxonomy = spec.taxonomy
        self._form = form
        assert isinstance(spec.engine, HeadsSettings) and spec.model is not None and spec.model.folder is not None
        self._settings, self._source, self._folder = spec.engine, spec.model, spec.model.folder

    @property
    def fingerprint(self) -> str:
        """Over all files of the folder, and the type of number that they are computed with."""
        return fingerprint("heads", _VERSION, self._source.identity())

    def window(self, keys: list[str], texts: list[str]) -> Window:
        """Reduce documents to the tokens that the encoder reads of them; see ``EncoderLabeler.window``."""
        there = {key: text for key, text in zip(keys, texts, strict=True) if readable(text)}
        ids = self._reader.read(list(there), list(there.values())) if there else []
        return Window(list(there), ids, [key for key in keys if key not in there])

    def judged(self, ids: list[list[int]]) -> Mapping[str, tuple[Codes, Codes]]:
        """Return the codes of documents by category, see ``Verdicts.codes``."""
        import torch

        from udfs.labels.students.heads import padded

        found: dict[str, list[Pair]] = {name: [("", None)] * len(ids) for name in self._form.categories}
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        model, device = self._model
        most = self._settings.batch_tokens or (_ON_CPU if device == "cpu" else _ON_GPU)
        while order:
            batch = order[-max(1, most // len(ids[order[-1]])) :]
            del order[-len(batch) :]
            tokens, mask = padded([ids[index] for index in batch])
            with torch.inference_mode():
                logits = model(tokens.to(device), mask.to(device))
            for name, pairs in model.codes({head: each.float().cpu() for head, each in logits.items()}).items():
                for index, pair in zip(batch, pairs, strict=True):
                    found[name][index] = pair
        return {name: ([first for first, _ in pairs], [second for _, second in pairs]) for name, pairs in found.items()}

    @cached_property
    def _reader(self) -> HeadsReader:
        from udfs.labels.students.heads import HeadsReader

        return HeadsReader.of(self._folder, self._form)

    @cached_property
    def _model(self) -> tuple[Heads, str]:
        """The model and its device; loaded when it is first needed. Raises CuveeError."""
        import torch

        from udfs.labels.students.heads import Heads

        name = self._settings.device
        device = name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        dtype: Any = getattr(torch, "float32" if self._source.dtype == "auto" else self._source.dtype)
        try:
            return Heads.load(self._folder, device, dtype), device
        except (RuntimeError, AssertionError) as error:
            raise CuveeError(f"cannot load the model to {device}: {error}") from error
