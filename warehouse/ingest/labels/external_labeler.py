"""External labelers: a name and a taxonomy, without a model. Their labels come from files, as they were written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from udfs.errors import UsageError
from udfs.expensive import fingerprint
from udfs.labels.labeler import VERDICT
from udfs.labels.taxonomies import external_labels
from udfs.labels.taxonomies.external_labels import ExternalCategory
from udfs.labels.taxonomies.taxonomy import NAME, Pair, Taxonomy
from warehouse.answers import store
from warehouse.ingest.records import IngestOptions

#: A primary and a secondary label, as written.
WrittenPair: TypeAlias = tuple[str | None, str | None]

#: Refused labels by row and category.
Refused: TypeAlias = dict[int, dict[str, dict[str, str | None]]]


@dataclass(frozen=True, slots=True)
class ExternalLabeler:
    """The name of who gave the labels, and their taxonomy."""

    name: str
    taxonomy: Taxonomy

    @property
    def store(self) -> str:
        """The table of the answers."""
        return f"labels.{self.taxonomy.name}"

    @property
    def columns(self) -> pa.Schema:
        """The answer columns: those of every labeler of the taxonomy."""
        return pa.schema([pa.field(category.name, VERDICT) for category in self.taxonomy.categories])

    def fingerprint(self, checksum: str, options: IngestOptions) -> str:
        """Return 32 hex digits over the file's content and all that decides how it is read."""
        codes = [ExternalCategory(category).identity() for category in self.taxonomy.categories]
        return fingerprint(
            "given", external_labels.VERSION, self.name, self.taxonomy.name, codes, checksum, options.fields
        )


def external_labeler(name: str, taxonomy: Taxonomy, configured: Sequence[str]) -> ExternalLabeler:
    """Make an external labeler. Raises UsageError for an invalid name, or one that a configured labeler has."""
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a valid labeler name", hint="use a-z, 0-9 and _")
    if name in configured:
        hint = "labels from outside need a name of their own, to show whose they are"
        raise UsageError(f"{name} is a labeler of this project", hint=hint)
    return ExternalLabeler(name, taxonomy)


@dataclass(slots=True)
class LabelsReport:
    """The result of one file of labels.

    ``answers`` were added; ``statuses`` counts them. ``rejected`` rows are malformed or name no document. ``overruled``
    rows came before another on the same document. ``unknown`` answers are about documents that the lake does not have.
    ``reasons`` counts why rows or labels were refused; ``hints`` has the nearest names to a reason.
    """

    path: str
    unchanged: bool = False
    answers: int = 0
    rejected: int = 0
    overruled: int = 0
    unknown: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    hints: dict[str, str] = field(default_factory=dict)


class LabelReader:
    """Reads labels as written; counts in a report what was refused."""

    def __init__(self, labeler: ExternalLabeler, fingerprint: str, report: LabelsReport) -> None:
        self.schema = store.store_schema(labeler.columns)
        self._labeler, self._fingerprint, self._report = labeler, fingerprint, report
        self._categories = [ExternalCategory(category) for category in labeler.taxonomy.categories]
        self._now = pa.scalar(datetime.now(UTC), pa.timestamp("us", "UTC"))

    def answers(self, batch: pa.RecordBatch) -> pa.Table:
        """Return the store's rows for rows of labels: ``doc_id``, and ``p0, s0, p1, s1, …`` by category."""
        n = batch.num_rows
        columns: dict[str, pa.Array] = {}
        good = np.zeros(n, dtype=np.int64)
        refused: Refused = {}
        for number, category in enumerate(self._categories):
            which, pairs = _distinct(batch.column(f"p{number}"), batch.column(f"s{number}"))
            read = [category.read(*pair) for pair in pairs]
            good += np.array([isinstance(each, Pair) for each in read])[which]
            codes = [each if isinstance(each, Pair) else (None, None) for each in read]
            columns[category.category.name] = pa.StructArray.from_arrays(
                [pa.array([code[at] for code in codes], pa.string()).take(which) for at in (0, 1)], fields=list(VERDICT)
            )
            for index, reason in enumerate(read):
                if isinstance(reason, str):
                    rows = np.flatnonzero(np.asarray(which) == index).tolist()
                    self._refuse(category, pairs[index], reason, rows=rows, refused=refused)
        statuses = np.where(good == len(self._categories), "ok", np.where(good > 0, "partial", "unparsed"))
        self._report.statuses.update(statuses.tolist())
        self._report.answers += n
        raw = [orjson.dumps(refused[row]).decode() if row in refused else None for row in range(n)]
        columns |= {
            "doc_id": batch.column("doc_id"),
            "labeler": pa.repeat(self._labeler.name, n),
            "fingerprint": pa.repeat(self._fingerprint, n),
            "status": pa.array(statuses.tolist(), pa.string()),
            "raw": pa.array(raw, pa.string()),
            "tokens": pa.nulls(n, pa.int64()),
            "labelled_at": pa.repeat(self._now, n),
        }
        return pa.table([columns[name] for name in self.schema.names], schema=self.schema)

    def _refuse(
        self, category: ExternalCategory, pair: WrittenPair, reason: str, rows: list[int], refused: Refused
    ) -> None:
        """Note a refused pair of labels, for each row that has it and in the counts."""
        name = category.category.name
        said = f"{name}: {reason}"
        self._report.reasons[said] += len(rows)
        if said not in self._report.hints and (near := category.near(*pair)):
            self._report.hints[said] = near
        for row in rows:
            refused.setdefault(row, {})[name] = {"primary": pair[0], "secondary": pair[1], "reason": reason}


def _distinct(first: pa.Array, second: pa.Array) -> tuple[pa.Array, list[WrittenPair]]:
    """Return which distinct pair of two columns each row has, and the distinct pairs."""
    left, right = (pc.dictionary_encode(each, null_encoding="encode") for each in (first, second))
    lefts, rights = left.dictionary.to_pylist(), right.dictionary.to_pylist()
    width = max(len(rights), 1)
    both = pa.array(left.indices.to_numpy().astype(np.int64) * width + right.indices.to_numpy()).dictionary_encode()
    return both.indices, [(lefts[each // width], rights[each % width]) for each in both.dictionary.to_pylist()]
