"""``label_document``: what a labeler says about a document, category by category.

A verdict follows T(d) = {(λ1, μ1), …} (Essential-Web, section 3): per category one primary code λ and optionally one
different secondary code μ. NULL means no secondary; the code ``-1`` is an explicit abstention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from udfs.errors import UsageError
from udfs.expensive import BoundFunction, answer_schema
from udfs.labels.labelers.price import Price, Usage
from udfs.labels.taxonomies.taxonomy import ABSTAIN, Taxonomy

DEFAULT_LABELER = "zero_shot"

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


class Labeler(Protocol):
    """Something that judges documents: a model with its settings. Making one loads no model."""

    name: str
    taxonomy: Taxonomy

    @property
    def fingerprint(self) -> str:
        """32 hex digits over everything that can change a verdict."""

    def label(self, inputs: Iterator[pa.RecordBatch]) -> Iterator[Verdicts]:
        """Judge every text of ``inputs`` (schema ``udfs.expensive.INPUT_SCHEMA``); one bad text never raises."""


@dataclass(frozen=True)
class BoundLabeler:
    """``label_document`` with its labeler fixed."""

    engine: Labeler
    price: Price | None = None
    result: None = field(default=None, init=False)

    @property
    def taxonomy(self) -> Taxonomy:
        """The labeler's taxonomy."""
        return self.engine.taxonomy

    @property
    def store(self) -> str:
        """``labels.<taxonomy>``."""
        return f"labels.{self.taxonomy.name}"

    @property
    def labeler(self) -> str:
        """The labeler's name."""
        return self.engine.name

    @cached_property
    def fingerprint(self) -> str:
        """The labeler's fingerprint."""
        return self.engine.fingerprint

    @cached_property
    def columns(self) -> pa.Schema:
        """One struct (primary, secondary) per category, in the taxonomy's order."""
        return pa.schema([pa.field(category.name, VERDICT) for category in self.taxonomy.categories])

    @property
    def usage(self) -> Usage | None:
        """What a labeler with an engine has read and written so far."""
        return getattr(self.engine, "usage", None)

    def close(self) -> None:
        """End the labeler's engine, if it has one."""
        close: Callable[[], None] | None = getattr(self.engine, "close", None)
        if close is not None:
            close()

    def answers(self, inputs: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Label every text; see ``BoundFunction.answers``."""
        for verdicts in self.engine.label(inputs):
            yield self.batch(verdicts)

    def batch(self, verdicts: Verdicts) -> pa.RecordBatch:
        """Verdicts as ``answers`` yields them."""
        nothing: tuple[Codes, Codes] = ([None] * len(verdicts.keys),) * 2
        structs = []
        for category in self.taxonomy.categories:
            primary, secondary = verdicts.codes.get(category.name, nothing)
            structs.append(
                pa.StructArray.from_arrays(
                    [pa.array(primary, pa.string()), pa.array(secondary, pa.string())], fields=list(VERDICT)
                )
            )
        return pa.record_batch(
            [
                pa.array(verdicts.keys, pa.string()),
                pa.array(verdicts.statuses, pa.string()),
                *structs,
                pa.array(verdicts.raw, pa.string()),
                pa.array(verdicts.tokens, pa.int64()),
            ],
            schema=answer_schema(self),
        )


@dataclass(frozen=True)
class LabelDocument:
    """``label_document(text [, labeler])``: a struct with one (primary, secondary) per category of the taxonomy.

    ``taxonomies`` is the project's seed folder; its labelers and taxonomies are beside it and in it.
    """

    taxonomies: Path
    name: str = field(default="label_document", init=False)

    def bind(self, options: tuple[str | int | float | bool, ...]) -> BoundFunction:
        """Fix the labeler, ``zero_shot`` unless it is named. Reads its file and its taxonomy; loads no model."""
        from udfs.labels.labelers.labeler_registry import Catalogue, labeler

        if len(options) > 1 or not all(isinstance(option, str) for option in options):
            raise UsageError(
                f"label_document takes a text and a labeler's name, not {', '.join(map(repr, options))}",
                hint=f"write label_document(text) or label_document(text, '{DEFAULT_LABELER}')",
            )
        name = options[0] if options else DEFAULT_LABELER
        spec = Catalogue(self.taxonomies).spec(str(name))
        return BoundLabeler(labeler(spec), spec.price)


def readable(text: str) -> bool:
    r"""Whether a text has anything to judge: one character that is neither white space nor a control character.

    >>> readable("a"), readable(" \t\x00\n"), readable("")
    (True, False, False)
    """
    return any(not (character.isspace() or character < " " or character == "\x7f") for character in text)
