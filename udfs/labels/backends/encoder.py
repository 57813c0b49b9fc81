"""The backend ``encoder``: documents are compared with the descriptions of labels (``udfs.labels.labelers.zero_shot``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from udfs.labels.taxonomies.taxonomies import EAI
from udfs.labels.taxonomies.taxonomy import FDC

if TYPE_CHECKING:
    from udfs.labels.labelers.labeler import Spec
    from udfs.labels.labels import Labeler


def labeler(spec: Spec) -> Labeler:
    """The zero-shot labeler for any taxonomy whose labels have descriptions. Loads no model.

    The names of FDC's classes are what its scores are scaled by, also where the taxonomy has no FDC.
    """
    from udfs.labels.labelers.zero_shot import ZeroShotLabeler

    has_fdc = any(category.name == FDC for category in spec.taxonomy.categories)
    neutral = None if has_fdc else spec.taxonomies.get(EAI).category(FDC).choices
    return ZeroShotLabeler(spec.taxonomy, spec.name, neutral)
