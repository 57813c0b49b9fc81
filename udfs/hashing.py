"""Hashes of 64 bits: of words in a buffer, the mixing step of n-grams and signatures, and a Bloom filter of hashes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]

_MASKS = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)
#: Longer words are hashed one by one: there are few, and one of 10 MB would be a million rounds.
_LONG = 64

_BITS = (3, 6, 6, 6, 6)
_GROWTH = 1.15
_SAMPLE = 20_000


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


@dataclass(frozen=True, slots=True)
class Bloom:
    """A Bloom filter: a set of hashes that never denies one of its own, and seldom takes another for one.

    Each hash sets bits in five 64-bit words of the table: 3 bits in the first, 6 in each of the others. A question
    reads the first word, and only what passes there (an eighth) reads the next. Bits that are together in a word cost
    one access to memory, and some more space than bits that are drawn apart; the table grows until the rate is as
    asked.
    """

    table: Hashes

    @classmethod
    def of(cls, hashes: Hashes, rate: float) -> Bloom:
        """Make a filter that takes a foreign hash for one of these with a probability of at most ``rate``."""
        distinct = np.unique(hashes)
        size = max(len(distinct) // 4, 1)
        if len(distinct) > _SAMPLE:
            # The rate is that of the bits per hash; to try sizes, some of the hashes will do.
            some = distinct[:: len(distinct) // _SAMPLE + 1]
            size = len(cls.of(some, rate).table) * len(distinct) // len(some)
        while True:
            made = cls(np.zeros(size, np.uint64))
            for stage in range(len(_BITS)):
                place, bits = made._at(distinct, stage)
                np.bitwise_or.at(made.table, place, bits)
            if made.rate <= rate:
                return made
            size = int(size * _GROWTH) + 1

    @property
    def rate(self) -> float:
        """The probability that a foreign hash passes, from the bits that are set in this very table."""
        full = np.bitwise_count(self.table) / 64
        return float(np.prod([np.mean(full**bits) for bits in _BITS]))

    def __contains__(self, hashed: int) -> bool:
        return bool(len(self.found(np.array([hashed], np.uint64))))

    def found(self, hashes: Hashes) -> Ints:
        """Return which of the hashes are in the set, by their numbers, ascending."""
        place, bits = self._at(hashes, 0)
        left = np.flatnonzero(self.table[place] & bits == bits)
        for stage in range(1, len(_BITS)):
            place, bits = self._at(hashes[left], stage)
            left = left[self.table[place] & bits == bits]
        return left

    def _at(self, hashes: Hashes, stage: int) -> tuple[Ints, Hashes]:
        """Return the word of the table, and the bits in it, that a stage looks at."""
        value = mixed(hashes, stage + 1)
        place = ((value >> np.uint64(32)) * np.uint64(len(self.table))) >> np.uint64(32)
        bits = np.uint64(1) << (value & np.uint64(63))
        for each in range(1, _BITS[stage]):
            bits |= np.uint64(1) << ((value >> np.uint64(6 * each)) & np.uint64(63))
        return place.view(np.int64), bits
