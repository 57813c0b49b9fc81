"""External labelers: a name and a taxonomy, without a model. Their labels come from files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from udfs.errors import UsageError
from udfs.expensive import fingerprint
from udfs.labels.taxonomies import external_labels
from udfs.labels.taxonomies.external_labels import ExternalCategory
from udfs.labels.taxonomies.taxonomy import NAME, Taxonomy
from udfs.labels.verdicts import VERDICT
from warehouse.ingest.records import IngestOptions


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
