"""The labeler ``zero_shot``: a small sentence encoder compares each document with the descriptions of the labels.

It needs no training, no server and no GPU, and it is what ``label_document`` uses unless another labeler is named. It
is a quick default. It knows subjects and kinds of document fairly well (figures in udfs/README.md) and guesses at
reasoning, correctness and extraction quality, which a sentence embedding hardly holds: use a distilled labeler there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa

from udfs.expensive import fingerprint, stopped
from udfs.labels.labeler import Labeler
from udfs.labels.labelers import encoder
from udfs.labels.sampling import LIMIT, sample
from udfs.labels.spec import Spec
from udfs.labels.taxonomies.taxonomies import EAI
from udfs.labels.taxonomies.taxonomy import FDC, Label, Taxonomy
from udfs.labels.verdicts import Verdicts, readable
from udfs.prefetch import prefetch

if TYPE_CHECKING:
    from udfs.labels.labelers.prototypes import Scale

#: What the encoder reads of a document: CHARACTERS of its text without markup, at most TOKENS of them, in up to
#: three parts.
TOKENS = 96
CHARACTERS = 6 * TOKENS

#: A score below FLOOR is an abstention; a second label within MARGIN of the best is the secondary one.
FLOOR = -0.1
MARGIN = 0.04

#: Documents that are sorted by length together, and how many such windows are prepared ahead.
WINDOW = 512
WINDOWS_AHEAD = 2

#: Raised when the code changes verdicts and no setting does.
_VERSION = 1

#: Markup says little about the subject and takes up the tokens: HTML tags, TeX comments and commands, URLs.
_MARKUP = re.compile(r"<[^<>]{1,300}>|^%.*$|\\[a-zA-Z]+\*?|[{}$&\\^_~]+|https?://\S+", re.MULTILINE)


def zero_shot_labeler(spec: Spec) -> ZeroShotLabeler:
    """Return the zero-shot labeler for any taxonomy whose labels have descriptions. Loads no model.

    The names of FDC's classes are what its scores are scaled by, also where the taxonomy has no FDC.
    """
    has_fdc = any(category.name == FDC for category in spec.taxonomy.categories)
    neutral = None if has_fdc else spec.taxonomies.get(EAI).category(FDC).choices
    return ZeroShotLabeler(spec.taxonomy, spec.name, neutral)


class ZeroShotLabeler(Labeler):
    """Labels documents by their nearest label descriptions (``udfs.labels.labelers.prototypes``)."""

    def __init__(self, taxonomy: Taxonomy, name: str = "zero_shot", neutral: tuple[Label, ...] | None = None) -> None:
        """Make a labeler for a taxonomy with FDC, or for another one with FDC's classes as ``neutral`` names."""
        self.taxonomy = taxonomy
        self.name = name
        self._neutral = neutral

    @property
    def fingerprint(self) -> str:
        """Over the encoder's files, the settings and the taxonomy. Raises CuveeError if the encoder is missing."""
        settings = [TOKENS, CHARACTERS, LIMIT, FLOOR, MARGIN, _MARKUP.pattern]
        neutral = [[label.label for label in self._neutral]] if self._neutral else []
        return fingerprint("zero_shot", _VERSION, encoder.identity(), settings, self.taxonomy.fingerprint, *neutral)

    def label(self, inputs: Iterator[pa.RecordBatch]) -> Iterator[Verdicts]:
        """Label every text. A thread reads and tokenizes windows of documents while the encoder works on others.

        A text with nothing to read in it (empty, or only white space, control characters and markup) is an
        abstention in every category. No text fails.
        """
        windows = prefetch(self._windows(inputs), WINDOWS_AHEAD)
        try:
            for window in windows:
                if window.blank:
                    yield Verdicts.abstained(self.taxonomy, window.blank)
                if window.keys:
                    yield self._judge(window)
        finally:
            windows.close()

    def reads(self, text: str, key: str) -> tuple[str, ...]:
        """Return what the encoder reads of a document, at most TOKENS tokens; nothing if there is nothing to read."""
        prose = _MARKUP.sub(" ", "\n".join(sample(text, key)))
        return sample(prose, key, CHARACTERS) if readable(prose) else ()

    def _windows(self, inputs: Iterator[pa.RecordBatch]) -> Iterator[_Window]:
        for batch in inputs:
            for start in range(0, batch.num_rows, WINDOW):
                if stopped(inputs):
                    return
                rows = batch.slice(start, WINDOW)
                yield self._read(rows["key"].to_pylist(), rows["text"].to_pylist())

    def _read(self, keys: list[str], texts: list[str]) -> _Window:
        """Reduce documents to the tokens that the encoder reads of them."""
        window = _Window([], [], [])
        parts: list[str] = []
        counts: list[int] = []
        for key, text in zip(keys, texts, strict=True):
            read = self.reads(text, key)
            if not read:
                window.blank.append(key)
                continue
            window.keys.append(key)
            counts.append(len(read))
            parts.extend(read)
        tokens = iter(self._encoder.tokenize(parts))
        for count in counts:
            window.ids.append([token for _ in range(count) for token in next(tokens)[: TOKENS // count]])
        return window

    def _judge(self, window: _Window) -> Verdicts:
        from udfs.labels.labelers.prototypes import Thresholds

        documents = self._encoder.embed(window.ids)
        thresholds = Thresholds(FLOOR, MARGIN)
        codes = {scale.category.name: scale.verdict(documents, thresholds) for scale in self._scales}
        n = len(window.keys)
        return Verdicts(window.keys, codes, ["ok"] * n, [None] * n, [len(ids) for ids in window.ids])

    @cached_property
    def _encoder(self) -> encoder.Encoder:
        return encoder.Encoder()

    @cached_property
    def _scales(self) -> list[Scale]:
        from udfs.labels.labelers.prototypes import Scale

        names = self._neutral or self.taxonomy.category(FDC).choices
        labels = [label for category in self.taxonomy.categories for label in category.labels]
        texts = {text for label in labels for text in (label.description, label.example) if text}
        ordered = sorted(texts | {label.label for label in names})
        vectors = dict(zip(ordered, self._encoder.embed(self._encoder.tokenize(ordered)), strict=True))
        return [Scale(category, names, vectors) for category in self.taxonomy.categories]


@dataclass(frozen=True, slots=True)
class _Window:
    """Documents ready for the encoder: their keys and token ids; and the keys of those with nothing to read."""

    keys: list[str]
    ids: list[list[int]]
    blank: list[str]
