"""The labels of a category as a sentence encoder sees them, and verdicts by nearness to them.

A label's prototype is the mean of the embeddings of its description and its example. A document's score for a label
is cos(document, prototype) - r/2, where r is the prototype's mean cosine to its ten nearest neighbours among neutral
texts, the names of FDC's classes. Without r a few general descriptions are the nearest ones of every document. This
is cross-domain similarity local scaling (Conneau et al. 2018, section 2.3), with no document fitted to.

In a hierarchy (FDC) the classes with a description are compared first: the second level, and 004, 005 and 006. Then
the classes of the third level below the winner are compared by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from udfs.labels.taxonomies.taxonomy import ABSTAIN, Category, Label

if TYPE_CHECKING:
    from udfs.labels.labelers.encoder import Embeddings
    from udfs.labels.verdicts import Codes

    #: Embeddings of the labels' texts.
    Vectors = Mapping[str, Embeddings]

_NEIGHBOURS = 10


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When to say nothing: the best score must reach ``floor``, else the verdict is an abstention; the second best
    label is the secondary one if its score does too and is at most ``margin`` below the best.
    """

    floor: float
    margin: float


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

    def verdict(self, documents: Embeddings, thresholds: Thresholds) -> tuple[Codes, Codes]:
        """Primary and secondary codes of documents by their embeddings."""
        scores = self._labels.scores(documents)
        order = np.argsort(-scores, axis=1, kind="stable")
        first = order[:, 0]
        second = order[:, min(1, scores.shape[1] - 1)]
        rows = np.arange(len(documents))
        judged = scores[rows, first] >= thresholds.floor
        close = scores[rows, second] >= np.maximum(thresholds.floor, scores[rows, first] - thresholds.margin)
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
