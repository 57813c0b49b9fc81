"""The labeler ``zero_shot``: a small sentence encoder compares each document with the descriptions of the labels.

It needs no training, no server and no GPU, and it is what ``label_document`` uses unless another labeler is named. It
is a quick default. It knows subjects and kinds of document fairly well (figures in udfs/README.md) and guesses at
reasoning, correctness and extraction quality, which a sentence embedding hardly holds: use a distilled labeler there.

A label's prototype is the mean of the embeddings of its description and its example. A document's score for a label
is cos(document, prototype) - r/2, where r is the prototype's mean cosine to its ten nearest neighbours among neutral
texts, the names of FDC's classes. Without r a few general descriptions are the nearest ones of every document. This
is cross-domain similarity local scaling (Conneau et al. 2018, section 2.3), with no document fitted to.

In a hierarchy (FDC) the classes with a description are compared first: the second level, and 004, 005 and 006. Then
the classes of the third level below the winner are compared by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from udfs.expensive import fingerprint
from udfs.labels.labeler import Codes, EncoderLabeler, Window, readable
from udfs.labels.labelers import encoder
from udfs.labels.labelers.encoder import Embeddings
from udfs.labels.sampling import LIMIT, sample
from udfs.labels.spec import Spec
from udfs.labels.taxonomies.taxonomies import EAI
from udfs.labels.taxonomies.taxonomy import ABSTAIN, FDC, Category, Label, Taxonomy

#: What the encoder reads of a document: CHARACTERS of its text without markup, at most TOKENS of them, in up to
#: three parts.
TOKENS = 96
CHARACTERS = 6 * TOKENS

#: A score below FLOOR is an abstention; a second label within MARGIN of the best is the secondary one.
FLOOR = -0.1
MARGIN = 0.04

_NEIGHBOURS = 10

#: Embeddings of the labels' texts.
Vectors = Mapping[str, Embeddings]

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


class ZeroShotLabeler(EncoderLabeler):
    """Labels documents by their nearest label descriptions."""

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

    def reads(self, text: str, key: str) -> tuple[str, ...]:
        """Return what the encoder reads of a document, at most TOKENS tokens; nothing if there is nothing to read."""
        prose = _MARKUP.sub(" ", "\n".join(sample(text, key)))
        return sample(prose, key, CHARACTERS) if readable(prose) else ()

    def window(self, keys: list[str], texts: list[str]) -> Window:
        """Reduce documents to the tokens that the encoder reads of them; see ``EncoderLabeler.window``."""
        read = {key: parts for key, text in zip(keys, texts, strict=True) if (parts := self.reads(text, key))}
        tokens = iter(self._encoder.tokenize([part for parts in read.values() for part in parts]))
        ids = [[token for _ in parts for token in next(tokens)[: TOKENS // len(parts)]] for parts in read.values()]
        return Window(list(read), ids, [key for key in keys if key not in read])

    def judged(self, ids: list[list[int]]) -> Mapping[str, tuple[Codes, Codes]]:
        """Return the codes of documents by category, see ``Verdicts.codes``."""
        documents = self._encoder.embed(ids)
        return {scale.category.name: scale.verdict(documents) for scale in self._scales}

    @cached_property
    def _encoder(self) -> encoder.Encoder:
        return encoder.Encoder()

    @cached_property
    def _scales(self) -> list[Scale]:
        names = self._neutral or self.taxonomy.category(FDC).choices
        labels = [label for category in self.taxonomy.categories for label in category.labels]
        texts = {text for label in labels for text in (label.description, label.example) if text}
        ordered = sorted(texts | {label.label for label in names})
        vectors = dict(zip(ordered, self._encoder.embed(self._encoder.tokenize(ordered)), strict=True))
        return [Scale(category, names, vectors) for category in self.taxonomy.categories]


class Prototypes:
    """Labels as vectors of length 1, each with its offset r/2."""

    def __init__(self, codes: Sequence[str], vectors: Embeddings, neutral: Embeddings) -> None:
        self.codes: NDArray[Any] = np.array(codes, object)
        self._vectors = vectors
        self._offsets = np.sort(vectors @ neutral.T, axis=1)[:, -_NEIGHBOURS:].mean(axis=1) / 2

    @classmethod
    def described(cls, labels: Sequence[Label], vectors: Vectors, neutral: Embeddings) -> Prototypes:
        """Labels by their descriptions and examples."""
        mean = np.stack([vectors[label.description] + vectors[label.example or label.description] for label in labels])
        return cls([label.code for label in labels], mean / np.linalg.norm(mean, axis=1, keepdims=True), neutral)

    def scores(self, documents: Embeddings) -> Embeddings:
        """Scores, documents × labels."""
        scores: Embeddings = documents @ self._vectors.T - self._offsets
        return scores


class Scale:
    """One category's labels, ready to judge documents. The names of the labels ``names`` are the neutral texts."""

    def __init__(self, category: Category, names: Sequence[Label], vectors: Vectors) -> None:
        neutral = np.stack([vectors[label.label] for label in names])
        self.category = category
        hierarchical = category.choices != category.labels
        labels = [label for label in category.labels if label.description and (label.level > 1 or not hierarchical)]
        self._labels = Prototypes.described(labels, vectors, neutral)
        self._below = Prototypes([label.code for label in names], neutral, neutral) if hierarchical else None
        position = {label.code: index for index, label in enumerate(labels)}
        #: For each name the described class above it; -1 under a class that is compared by itself.
        self._parents = np.array([position.get(label.parent or "", -1) for label in names], np.intp)

    def verdict(self, documents: Embeddings) -> tuple[Codes, Codes]:
        """Primary and secondary codes of documents by their embeddings."""
        scores = self._labels.scores(documents)
        order = np.argsort(-scores, axis=1, kind="stable")
        first = order[:, 0]
        second = order[:, min(1, scores.shape[1] - 1)]
        rows = np.arange(len(documents))
        judged = scores[rows, first] >= FLOOR
        close = scores[rows, second] >= np.maximum(FLOOR, scores[rows, first] - MARGIN)
        primary = np.where(judged, self._codes(documents, first), ABSTAIN)
        secondary = np.where(judged & close & (first != second), self._codes(documents, second), np.array(None))
        return primary.tolist(), secondary.tolist()

    def _codes(self, documents: Embeddings, chosen: NDArray[np.intp]) -> NDArray[Any]:
        """Return the codes of the chosen labels, or in a hierarchy those of the best class below each."""
        codes: NDArray[Any] = self._labels.codes[chosen]
        if self._below is None:
            return codes
        below = self._parents[None, :] == chosen[:, None]
        best = np.where(below, self._below.scores(documents), -np.inf).argmax(axis=1)
        return np.where(below.any(axis=1), self._below.codes[best], codes)
