"""``minhash_signature(text, hashes, words)``: the MinHash signature of a text's sequences of words (Broder, 1997).

A shingle is ``words`` words in a row; a text with fewer words is one shingle. Words are those that decontamination
compares (``udfs.text.decontamination_normalization``): letters and digits in lower case without accents, between
anything else. In scripts without spaces (Chinese, Japanese, Thai, …) each letter is a word. Of each of ``hashes`` hash
functions the signature holds the smallest value over the text's shingles. So the share of places where two signatures
agree estimates the Jaccard similarity of the two sets of shingles. What is near enough is decided in SQL:
``sql/macros/duplicates.sql`` cuts signatures into bands, and documents that agree in one are compared.

A shingle is hashed once, to 64 bits; function k makes 32 bits of it, ``(h ^ x_k) * a_k`` with ``a_k`` odd: one to one
in the low half of the hash, and cheap in vector registers (126 functions take 50 ns a word). The constants come from a
fixed sequence, so signatures of different runs and machines can be compared; signatures of other ``hashes`` agree in
what they both have.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from udfs.errors import UsageError
from udfs.expensive import fingerprint
from udfs.hashing import Bytes, Hashes, Ints, mixed
from udfs.text.decontamination_normalization import pieces
from udfs.text.decontamination_normalization import words as split
from udfs.vectorized import Vectorized

Halves = NDArray[np.uint32]

COLUMNS = pa.schema([pa.field("signature", pa.list_(pa.uint32()))])

#: Another number for every change that can change a signature.
VERSION = 2

#: Shingles that are hashed at once: their 32-bit values and a copy stay in the second-level cache.
_BLOCK = 1 << 16
#: Bytes of text whose words are found at once.
_PIECE = 1 << 20


def minhash(texts: pa.Array, hashes: int, words: int) -> pa.RecordBatch:
    """Compute the signatures of texts (schema ``COLUMNS``), NULL for a text without words."""
    found = [_signatures_of(content, bounds, hashes, words) for _, content, bounds in pieces(texts, _PIECE)]
    none = pa.array([], COLUMNS.field("signature").type)
    return pa.record_batch([pa.concat_arrays(found) if found else none], schema=COLUMNS)


def _signatures_of(text: Bytes, bounds: Ints, hashes: int, words: int) -> pa.ListArray:
    found = split(text, bounds)
    return signatures(found.hashes(), found.first, hashes, words)


def signatures(of_words: Hashes, first: Ints, hashes: int, words: int) -> pa.ListArray:
    """Compute the signatures of documents whose words are hashed: document d has those from ``first[d]`` on."""
    shingles, bounds = _shingles(of_words, first, words)
    filled = np.flatnonzero(bounds[1:] > bounds[:-1])
    values = np.full((len(filled), hashes), 0xFFFFFFFF, np.uint32)
    flips, factors = _constants(hashes)
    starts = bounds[:-1][filled]
    for at in range(0, len(shingles), _BLOCK):
        block = shingles[at : at + _BLOCK]
        begin = int(np.searchsorted(starts, at, "right")) - 1
        end = int(np.searchsorted(starts, at + len(block)))
        places = np.maximum(starts[begin:end] - at, 0)
        scratch = np.empty_like(block)
        for k in range(hashes):
            np.bitwise_xor(block, flips[k], out=scratch)
            np.multiply(scratch, factors[k], out=scratch)
            smallest = np.minimum.reduceat(scratch, places)
            np.minimum(values[begin:end, k], smallest, out=values[begin:end, k])
    counts = np.zeros(len(bounds) - 1, np.int64)
    counts[filled] = hashes
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
    empty = pa.array(counts == 0)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel()), mask=empty)


def _shingles(of_words: Hashes, first: Ints, words: int) -> tuple[Halves, Ints]:
    """Hash the shingles of all documents to 32 bits. Returns the hashes, and where each document's begin."""
    counts = np.diff(first)
    wide = of_words.copy()
    for distance in range(1, words):  # a shingle's hash depends on its words in their order
        wide[:-distance] = mixed(wide[:-distance] + of_words[distance:])
    sizes = np.maximum(counts - words + 1, 0)
    bounds = np.concatenate(([0], np.cumsum(np.where(counts > 0, np.maximum(sizes, 1), 0))))
    kept = np.repeat(first[:-1] - bounds[:-1], np.diff(bounds)) + np.arange(bounds[-1])
    shingles = wide[kept]
    for document in np.flatnonzero((counts > 0) & (counts < words)).tolist():
        value = of_words[first[document] : first[document] + 1]
        for at in range(1, int(counts[document])):
            value = mixed(value + of_words[first[document] + at])
        shingles[bounds[document]] = value[0]
    return (shingles >> np.uint64(32)).astype(np.uint32), bounds


def _constants(hashes: int) -> tuple[Halves, Halves]:
    numbers = mixed(np.arange(1, hashes + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    odd = numbers & np.uint64(0xFFFFFFFF) | np.uint64(1)
    return (numbers >> np.uint64(32)).astype(np.uint32), odd.astype(np.uint32)


@dataclass(frozen=True)
class MinHash:
    """``minhash_signature(text, hashes, words)``: a list of 32-bit numbers."""

    name: str = field(default="minhash_signature", init=False)
    columns: pa.Schema = field(default=COLUMNS, init=False)
    result: str = field(default="signature", init=False)

    def bind(self, options: tuple[str | int | float | bool, ...]) -> Vectorized:
        """Fix the number of hashes and the words of a shingle. Raises UsageError."""
        numbers = [option for option in options if isinstance(option, int) and option >= 1]
        if len(options) != 2 or len(numbers) != 2 or numbers[0] > 4096:
            raise UsageError(
                "minhash_signature takes a text, how many hashes (1 to 4096), and the words of a shingle",
                hint="write minhash_signature(text, 126, 5)",
            )
        hashes, words = numbers
        return Vectorized(
            store="signals.minhash_signature",
            labeler=f"{hashes}x{words}",
            fingerprint=fingerprint("minhash", VERSION, hashes, words),
            columns=COLUMNS,
            result="signature",
            compute=partial(minhash, hashes=hashes, words=words),
        )
