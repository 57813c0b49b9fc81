"""Who gives labels from outside: a labeler by name, with a taxonomy, and no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from udfs.errors import UsageError
from udfs.expensive import fingerprint
from udfs.labels.labels import VERDICT
from udfs.labels.taxonomies import external_labels
from udfs.labels.taxonomies.external_labels import GivenCategory
from udfs.labels.taxonomies.taxonomy import NAME, Taxonomy
from warehouse.ingest.records import Options


@dataclass(frozen=True, slots=True)
class Outside:
    """Who gave the labels, and for which taxonomy."""

    labeler: str
    taxonomy: Taxonomy

    @property
    def store(self) -> str:
        """Where the answers are kept."""
        return f"labels.{self.taxonomy.name}"

    @property
    def columns(self) -> pa.Schema:
        """The answer columns, as those of every labeler of the taxonomy."""
        return pa.schema([pa.field(category.name, VERDICT) for category in self.taxonomy.categories])

    def fingerprint(self, checksum: str, options: Options) -> str:
        """32 hex digits over the file's content and all that decides how it is read."""
        codes = [GivenCategory(category).identity() for category in self.taxonomy.categories]
        return fingerprint(
            "given", external_labels.VERSION, self.labeler, self.taxonomy.name, codes, checksum, options.fields
        )


def outside(labeler: str, taxonomy: Taxonomy, configured: Sequence[str]) -> Outside:
    """A labeler from outside. Raises UsageError for a name that is none, or that a configured labeler has."""
    if not NAME.fullmatch(labeler):
        raise UsageError(f"{labeler!r} is no name of a labeler", hint="use a-z, 0-9 and _")
    if labeler in configured:
        message = f"{labeler} is a labeler of this project"
        raise UsageError(
            message, hint="labels from outside need a name of their own, or nobody can tell whose they are"
        )
    return Outside(labeler, taxonomy)
