"""The base classes of labelers, and their verdicts: what they say about documents, category by category.

A verdict follows T(d) = {(λ1, μ1), …} (Essential-Web, section 3): per category one primary code λ and optionally one
different secondary code μ. NULL means no secondary; the code ``-1`` is an explicit abstention.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from udfs.expensive import Usage, stopped
from udfs.labels.taxonomies.taxonomy import ABSTAIN, Taxonomy
from udfs.prefetch import prefetch

#: A category's verdict in the store and in SQL: ``label_document(text).document_type_v2.primary``.
VERDICT = pa.struct([pa.field("primary", pa.string()), pa.field("secondary", pa.string())])

Codes = Sequence[str | None]

#: Documents that are sorted by length together for an encoder, and how many such windows are prepared ahead.
WINDOW = 512
WINDOWS_AHEAD = 2


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What a labeler says about some documents, by column: every sequence has one entry per key.

    ``codes`` maps a category to its primary and its secondary codes; a category that is left out is NULL.
    """

    keys: Sequence[str]
    codes: Mapping[str, tuple[Codes, Codes]]
    statuses: Sequence[str]
    raw: Codes
    tokens: Sequence[int | None]

    @classmethod
    def abstained(cls, taxonomy: Taxonomy, keys: Sequence[str]) -> Verdicts:
        """Explicit abstention in every category: what every labeler says of a text with nothing to read in it."""
        n = len(keys)
        codes = {category.name: ([ABSTAIN] * n, [None] * n) for category in taxonomy.categories}
        return cls(keys, codes, ["ok"] * n, [None] * n, [0] * n)


def readable(text: str) -> bool:
    r"""Return whether a text has anything to read: a character that is neither white space nor a control character.

    >>> readable("a"), readable(" \t\x00\n"), readable("")
    (True, False, False)
    """
    return any(not (character.isspace() or character < " " or character == "\x7f") for character in text)


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


class Window(NamedTuple):
    """Documents ready for an encoder: their keys and token ids; and the keys of those with nothing to read."""

    keys: list[str]
    ids: list[list[int]]
    blank: list[str]


class EncoderLabeler(Labeler):
    """A labeler that reads documents with an encoder, those of similar length together. No text fails."""

    def label(self, inputs: Iterator[pa.RecordBatch]) -> Iterator[Verdicts]:
        """Label every text. A thread reads and tokenizes windows of documents while the encoder works on others.

        A text with nothing to read in it is an abstention in every category.
        """
        read = (self.window(keys, texts) for keys, texts in documents(inputs, WINDOW) if not stopped(inputs))
        windows = prefetch(read, WINDOWS_AHEAD)
        try:
            for window in windows:
                if stopped(inputs):
                    return  # windows that were made ahead are not begun
                if window.blank:
                    yield Verdicts.abstained(self.taxonomy, window.blank)
                if window.keys:
                    n = len(window.keys)
                    tokens = [len(ids) for ids in window.ids]
                    yield Verdicts(window.keys, self.judged(window.ids), ["ok"] * n, [None] * n, tokens)
        finally:
            windows.close()

    def window(self, keys: list[str], texts: list[str]) -> Window:
        """Reduce documents to the tokens that the encoder reads of them."""
        raise NotImplementedError

    def judged(self, ids: list[list[int]]) -> Mapping[str, tuple[Codes, Codes]]:
        """Return the codes of documents by category, see ``Verdicts.codes``."""
        raise NotImplementedError


def documents(inputs: Iterator[pa.RecordBatch], most: int) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the keys and the texts of inputs, at most so many at once."""
    for batch in inputs:
        for start in range(0, batch.num_rows, most):
            rows = batch.slice(start, most)
            yield rows["key"].to_pylist(), rows["text"].to_pylist()
