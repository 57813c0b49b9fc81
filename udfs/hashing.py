"""Hashes of 64 bits: of words in a buffer, and the mixing step that hashes of n-grams and signatures are made with."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]

_MASKS = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)
#: Longer words are hashed one by one: there are few, and one of 10 MB would be a million rounds.
_LONG = 64


def mixed(values: Hashes, salt: int = 0) -> Hashes:
    """Spread each value over all 64 bits, one to one (the finalizer of SplitMix64); another salt gives other values."""
    if salt:
        values = values + np.uint64((salt * 0x9E3779B97F4A7C15) % 2**64)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def hash_spans(data: Bytes, starts: Ints, lengths: Ints) -> Hashes:
    """Return a 64-bit hash of each span, the same in every process.

    ``data`` has 8 more bytes after the last span.
    """
    eights: Hashes = np.ndarray((max(len(data) - 7, 0),), "<u8", data, strides=(1,))
    hashes = mixed(eights[starts] & _MASKS[np.minimum(lengths, 8)] ^ lengths.astype(np.uint64) << np.uint64(56))
    at, longer = 8, np.flatnonzero(lengths > 8)
    while len(longer) and at < _LONG:
        left = np.minimum(lengths[longer] - at, 8)
        hashes[longer] = mixed(hashes[longer] ^ eights[starts[longer] + at] & _MASKS[left])
        at += 8
        longer = longer[lengths[longer] > at]
    for each in longer.tolist():
        span = data[starts[each] : starts[each] + lengths[each]]
        hashes[each] = int.from_bytes(hashlib.blake2b(span.tobytes(), digest_size=8).digest(), "little")
    return hashes
