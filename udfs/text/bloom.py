"""A Bloom filter over 64-bit hashes: an array of numbers, asked for many hashes at once.

Each hash sets bits in five 64-bit words of the table: 3 bits in the first, 6 in each of the others. A question reads
the first word, and only what passes there (an eighth) reads the next. Bits that are together in a word cost one
access to memory, and some more space than bits that are drawn apart; the table grows until the rate is as asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from udfs.hashing import mixed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from udfs.hashing import Hashes

_BITS = (3, 6, 6, 6, 6)
_GROWTH = 1.15
_SAMPLE = 20_000


@dataclass(frozen=True, slots=True)
class Bloom:
    """A set of hashes that never denies one of its own, and seldom takes another for one."""

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

    def found(self, hashes: Hashes) -> NDArray[np.int64]:
        """Return which of the hashes are in the set, by their numbers, ascending."""
        place, bits = self._at(hashes, 0)
        left = np.flatnonzero(self.table[place] & bits == bits)
        for stage in range(1, len(_BITS)):
            place, bits = self._at(hashes[left], stage)
            left = left[self.table[place] & bits == bits]
        return left

    def _at(self, hashes: Hashes, stage: int) -> tuple[NDArray[np.int64], Hashes]:
        """Return the word of the table, and the bits in it, that a stage looks at."""
        value = mixed(hashes, stage + 1)
        place = ((value >> np.uint64(32)) * np.uint64(len(self.table))) >> np.uint64(32)
        bits = np.uint64(1) << (value & np.uint64(63))
        for each in range(1, _BITS[stage]):
            bits |= np.uint64(1) << ((value >> np.uint64(6 * each)) & np.uint64(63))
        return place.view(np.int64), bits
