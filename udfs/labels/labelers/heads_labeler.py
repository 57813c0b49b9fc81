"""Labelers with the backend ``heads``: an encoder with classification heads (``udfs.labels.students.heads``)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from udfs.errors import CuveeError
from udfs.expensive import fingerprint
from udfs.labels.backends.settings import HeadsSettings
from udfs.labels.labeler import Labeler
from udfs.labels.students.heads_form import HeadsForm
from udfs.labels.verdicts import Verdicts, readable
from udfs.prefetch import prefetch

if TYPE_CHECKING:
    from udfs.labels.spec import Spec
    from udfs.labels.students.heads import Heads, HeadsReader, Pair

#: Tokens of a batch. On a CPU, what an encoder works on should stay in the caches: one of 10 layers of width 384 reads
#: 37.5 documents of 140 tokens a second with 2,048, 32.6 with 4,096 and 28.7 with 8,192.
_ON_CPU, _ON_GPU = 2_048, 16_384

#: Documents that are sorted by length together, and how many such windows are ready before the encoder asks.
WINDOW = 512
WINDOWS_AHEAD = 2

#: Raised when the code changes verdicts and no setting does.
_VERSION = 1


def heads_labeler(spec: Spec) -> HeadsLabeler:
    """Return the labeler of a folder with heads. Loads no model. Raises CuveeError if the folder does not fit."""
    model = spec.model
    assert model is not None
    if model.folder is None or model.quantization or model.adapter:
        raise CuveeError(
            f"the labeler {spec.name} needs a folder with an encoder and heads, and nothing else",
            hint="write model: {folder: …}, and dtype: bfloat16 if it is to be faster on a GPU",
        )
    form = HeadsForm.read(model.folder)
    form.check(spec.taxonomy, model.folder)
    return HeadsLabeler(spec, form)


class HeadsLabeler(Labeler):
    """Labels documents by the heads of an encoder."""

    def __init__(self, spec: Spec, form: HeadsForm) -> None:
        self.name = spec.name
        self.taxonomy = spec.taxonomy
        self._spec = spec
        self._form = form
        assert isinstance(spec.engine, HeadsSettings)
        self._settings = spec.engine

    @property
    def fingerprint(self) -> str:
        """Over all files of the folder, and the type of number that they are computed with."""
        assert self._spec.model is not None
        return fingerprint("heads", _VERSION, self._spec.model.identity())

    def label(self, inputs: Iterator[pa.RecordBatch]) -> Iterator[Verdicts]:
        """Label every text; see ``Labeler.label``. A text with nothing to read in it abstains. No text fails."""
        windows = prefetch(self._windows(inputs), WINDOWS_AHEAD)
        try:
            for blank, keys, ids in windows:
                if blank:
                    yield Verdicts.abstained(self.taxonomy, blank)
                if keys:
                    yield self._judge(keys, ids)
        finally:
            windows.close()

    def _windows(self, inputs: Iterator[pa.RecordBatch]) -> Iterator[tuple[list[str], list[str], list[list[int]]]]:
        for batch in inputs:
            for start in range(0, batch.num_rows, WINDOW):
                rows = batch.slice(start, WINDOW)
                texts = dict(zip(rows["key"].to_pylist(), rows["text"].to_pylist(), strict=True))
                blank = [key for key, text in texts.items() if not readable(text)]
                for key in blank:
                    del texts[key]
                ids = self._reader.read(list(texts), list(texts.values())) if texts else []
                yield blank, list(texts), ids

    def _judge(self, keys: list[str], ids: list[list[int]]) -> Verdicts:
        import torch

        from udfs.labels.students.heads import padded

        found: dict[str, list[Pair]] = {name: [("", None)] * len(keys) for name in self._form.categories}
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
        codes = {
            name: ([first for first, _ in pairs], [second for _, second in pairs]) for name, pairs in found.items()
        }
        n = len(keys)
        return Verdicts(keys, codes, ["ok"] * n, [None] * n, [len(each) for each in ids])

    @cached_property
    def _reader(self) -> HeadsReader:
        from udfs.labels.students.heads import HeadsReader

        assert self._spec.model is not None and self._spec.model.folder is not None
        return HeadsReader.of(self._spec.model.folder, self._form)

    @cached_property
    def _model(self) -> tuple[Heads, str]:
        """The model and its device; loaded when it is first needed. Raises CuveeError."""
        import torch

        from udfs.labels.students.heads import Heads

        model = self._spec.model
        assert model is not None and model.folder is not None
        name = self._settings.device
        device = name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        dtype: Any = getattr(torch, "float32" if model.dtype == "auto" else model.dtype)
        try:
            return Heads.load(model.folder, device, dtype), device
        except (RuntimeError, AssertionError) as error:
            raise CuveeError(f"cannot load the model to {device}: {error}") from error
