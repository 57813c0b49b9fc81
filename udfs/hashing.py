"""64-bit numbers scrambled: what hashes of words, n-grams and signatures are made with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]


def mixed(values: Hashes, salt: int = 0) -> Hashes:
    """Spread each value over all 64 bits, one to one (the finalizer of SplitMix64); another salt gives other values."""
    if salt:
        values = values + np.uint64((salt * 0x9E3779B97F4A7C15) % 2**64)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
