"""``label_document``: the labels of a document, by the labeler that is named."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from udfs.errors import UsageError
from udfs.expensive import BoundFunction, Price, Usage, answer_schema
from udfs.labels.labeler import VERDICT, Codes, Labeler, Verdicts
from udfs.labels.labelers.labeler_registry import LabelerRegistry, make_labeler

DEFAULT_LABELER = "zero_shot"


class BoundLabeler(BoundFunction):
    """``label_document`` with its labeler fixed. An answer has one struct (primary, secondary) per category."""

    result = None

    def __init__(self, engine: Labeler, price: Price | None = None) -> None:
        self.engine = engine
        self.price = price
        self.taxonomy = engine.taxonomy
        self.store = f"labels.{engine.taxonomy.name}"
        self.labeler = engine.name
        self.columns = pa.schema([pa.field(category.name, VERDICT) for category in engine.taxonomy.categories])

    @cached_property
    def fingerprint(self) -> str:  # type: ignore[override]  # read when it is first needed: it may cover a whole model
        """The labeler's fingerprint."""
        return self.engine.fingerprint

    @property
    def usage(self) -> Usage | None:
        """The tokens that the labeler has paid for so far."""
        return self.engine.usage

    def close(self) -> None:
        """End the labeler's engine, if it has one."""
        self.engine.close()

    def answers(self, inputs: Iterator[pa.RecordBatch]) -> Generator[pa.RecordBatch, None, None]:
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

    ``folders`` are the project's and its packages': their labelers and taxonomies count, the project's first.
    """

    folders: Sequence[Path]
    name: str = field(default="label_document", init=False)

    def bind(self, options: tuple[str | int | float | bool, ...]) -> BoundFunction:
        """Fix the labeler, ``zero_shot`` unless it is named. Reads its file and its taxonomy; loads no model."""
        if len(options) > 1 or not all(isinstance(option, str) for option in options):
            raise UsageError(
                f"label_document takes a text and a labeler's name, not {', '.join(map(repr, options))}",
                hint=f"write label_document(text) or label_document(text, '{DEFAULT_LABELER}')",
            )
        name = options[0] if options else DEFAULT_LABELER
        spec = LabelerRegistry(self.folders).spec(str(name))
        return BoundLabeler(make_labeler(spec), spec.price)
