"""The base class of labelers."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from udfs.labels.taxonomies.taxonomy import Taxonomy
from udfs.labels.verdicts import Verdicts
from udfs.price import Usage


class Labeler:
    """A model with its settings that labels documents by a taxonomy. Making one loads no model.

    ``usage`` are the tokens paid for so far; None if the labeler does not count what it reads and what it writes.
    """

    name: str
    taxonomy: Taxonomy
    usage: Usage | None = None

    @property
    def fingerprint(self) -> str:
        """32 hex digits over everything that can change a verdict."""
        raise NotImplementedError

    def label(self, inputs: Iterator[pa.RecordBatch]) -> Iterator[Verdicts]:
        """Label every text of ``inputs`` (schema ``udfs.expensive.INPUT_SCHEMA``). One bad text never raises."""
        raise NotImplementedError

    def reads(self, text: str, key: str) -> tuple[str, ...]:
        """Return the parts of a document that the model reads. All of it, unless a labeler says otherwise."""
        return (text,)

    def close(self) -> None:
        """End the labeler's engine. Does nothing unless a labeler has one."""
