"""Names of labels in templates: ``label_is`` and ``taxonomy_labels`` look them up when a model is compiled."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TypedDict

from udfs.labels.taxonomies.taxonomies import EAI, Taxonomies, labels
from udfs.labels.taxonomies.taxonomy import Taxonomy


class Codes(TypedDict):
    """The codes of a label: those listed, or all that begin with ``prefix``."""

    codes: tuple[str, ...]
    prefix: str | None


class LabelNames:
    """The taxonomies of a project's ``folders``, each read once."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._taxonomies = Taxonomies(folders)
        self._get = cache(self._taxonomies.get)

    def codes(self, category: str, label: str, taxonomy: str) -> Codes:
        """Find a label by its name or code in a category. Raises UsageError with the nearest names."""
        found = self._get(taxonomy).category(category)
        code = found.code(str(label))
        return Codes(codes=(), prefix=code) if found.decimal else Codes(codes=found.below(code), prefix=None)

    def categories(self, taxonomy: str) -> list[str]:
        """Return the names of a taxonomy's categories. Raises UsageError with the nearest names of taxonomies."""
        return [category.name for category in self._get(taxonomy).categories]

    def rows(self, taxonomy: str) -> list[dict[str, object]] | None:
        """Return the labels of a taxonomy; None if it is a seed."""
        read: Taxonomy = self._get(taxonomy)
        if taxonomy == EAI or self._taxonomies.files()[taxonomy].suffix == ".csv":
            return None
        return list(labels(read))
