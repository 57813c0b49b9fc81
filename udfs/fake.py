"""A labeler that needs no model: its verdicts are drawn from the text's md5.

For trying a project, and for tests of whatever stands on top of labels. Equal texts get equal labels, everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pyarrow as pa

from udfs.expensive import fingerprint
from udfs.labels import Verdicts, readable
from udfs.taxonomy import ABSTAIN, Taxonomy


class FakeLabeler:
    """Draws a primary label for every category, and a secondary one for about half of them."""

    name = "fake"

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy

    @property
    def fingerprint(self) -> str:
        """Over the codes that can be drawn."""
        categories = self.taxonomy.categories
        return fingerprint(
            self.name, [[category.name, [label.code for label in category.choices]] for category in categories]
        )

    def label(self, inputs: Iterator[pa.RecordBatch]) -> Iterator[Verdicts]:
        """One ``Verdicts`` per batch of texts; no text fails. Costs no tokens."""
        import numpy as np

        for batch in inputs:
            texts: list[str] = batch["text"].to_pylist()
            digests = b"".join(hashlib.md5(text.encode(), usedforsecurity=False).digest() for text in texts)
            first, second = np.frombuffer(digests, "<u8").reshape(-1, 2).T
            judged = np.array([readable(text) for text in texts], bool)
            codes = {}
            for index, category in enumerate(self.taxonomy.categories):
                known = np.array([*(label.code for label in category.choices), ABSTAIN, None], object)
                labels = len(known) - 2
                primary = (first + np.uint64(index) * second) % np.uint64(labels)
                offset = (second + np.uint64(index) * first) % np.uint64(2 * labels)
                secondary = np.where((offset > 0) & (offset < labels), (primary + offset) % np.uint64(labels), -1)
                codes[category.name] = (
                    known[np.where(judged, primary, -2).astype(int)].tolist(),
                    known[np.where(judged, secondary, -1).astype(int)].tolist(),
                )
            n = len(texts)
            yield Verdicts(batch["key"].to_pylist(), codes, ["ok"] * n, [None] * n, [0] * n)
