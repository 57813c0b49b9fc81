"""Verdicts: what a labeler says about documents, category by category.

A verdict follows T(d) = {(λ1, μ1), …} (Essential-Web, section 3): per category one primary code λ and optionally one
different secondary code μ. NULL means no secondary; the code ``-1`` is an explicit abstention.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from udfs.labels.taxonomies.taxonomy import ABSTAIN, Taxonomy

#: A category's verdict in the store and in SQL: ``label_document(text).document_type_v2.primary``.
VERDICT = pa.struct([pa.field("primary", pa.string()), pa.field("secondary", pa.string())])

Codes = Sequence[str | None]


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
