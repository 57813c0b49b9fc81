r"""RedPajama-V2's words of a batch of texts, as numbers: a hash and a length for each, no Python object per word.

Two ways to split, both those of RedPajama-V2's code (``app/src/core/document.py``). Decontamination has words of its
own (``udfs.text.decontamination_normalization``).

- ``normalized``: ASCII punctuation is taken out (so ``don't`` is ``dont``), the text is lower-cased, split at white
  space, and put into Unicode's form NFD.
- ``tokens``: runs of word characters and runs of what is neither word character nor white space (``\w+|[^\w\s]+``),
  the text as it is.

White space, word characters, lower case and upper case are Python's (``str.split``, ``re``, ``str.lower``,
``str.isupper``). The texts of a batch are joined by the byte 0xFF, which UTF-8 never has; everything is then done on
the one buffer. Only words with other than ASCII characters become Python strings, all of a batch in one.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from udfs.hashing import Bytes, Hashes, Ints, hash_spans

_SEPARATOR = 0xFF
_SPACES = bytes(code for code in range(128) if chr(code).isspace())
_PUNCTUATION = string.punctuation.encode()
_FOLDING = bytes.maketrans(
    _SPACES + string.ascii_uppercase.encode(), b" " * len(_SPACES) + string.ascii_lowercase.encode()
)

#: What a token consists of, as bits: word characters or other ones, and some of these.
WORD, OTHER, UPPER, LOWER, ALPHABETIC, TERMINATOR = 1, 2, 4, 8, 16, 32


def _class_of(character: str) -> int:
    """Return the bits of a character."""
    if character.isspace():
        return 0
    bits = WORD if character.isalnum() or character == "_" else OTHER
    if character.isupper():
        bits |= UPPER
    elif character.islower() or character.istitle():
        bits |= LOWER
    if character.isascii() and character.isalpha():
        bits |= ALPHABETIC
    return bits | TERMINATOR if character in ".!?" else bits


_CLASSES = bytes(_class_of(chr(code)) if code < 128 else 0 for code in range(256))


@dataclass(frozen=True, slots=True)
class RedPajamaWords:
    """Words of several documents. Document d has those from ``bounds[d]`` to ``bounds[d + 1]``.

    ``lengths`` are in characters. ``folded`` is the text they were found in (empty if there was none): lower case in
    ASCII, white space as spaces, documents separated by 0xFF.
    """

    hashes: Hashes
    lengths: Ints
    bounds: Ints
    folded: bytes = b""

    @property
    def counts(self) -> Ints:
        """How many words each document has."""
        return np.diff(self.bounds)


@dataclass(frozen=True, slots=True)
class RedPajamaTokens:
    """Tokens of several documents: where each is in ``data``, and of what it consists (``WORD`` and so on)."""

    data: Bytes
    starts: Ints
    lengths: Ints
    bits: Bytes
    bounds: Ints


def join(texts: pa.Array) -> bytes:
    """Join texts, each between two bytes 0xFF. NULL is an empty text."""
    if not len(texts):
        return b"\xff"
    filled = pc.fill_null(texts, "").cast(pa.large_binary())
    whole = pa.LargeListArray.from_arrays(pa.array([0, len(filled)], pa.int64()), filled)
    joined = pc.binary_join(whole, pa.scalar(b"\xff", pa.large_binary()))
    return b"\xff" + bytes(memoryview(joined[0].as_buffer())) + b"\xff"


def normalized(joined: bytes) -> RedPajamaWords:
    """Find the normalized words of joined texts."""
    data = np.frombuffer(bytearray(joined.translate(_FOLDING, _PUNCTUATION)) + bytes(8), np.uint8)
    end = len(data) - 8
    foreign = np.flatnonzero(data[:end] >= 0x80)
    _blank(data, foreign)
    inside = (data[:end] != 0x20) & (data[:end] != _SEPARATOR)
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    separators = np.flatnonzero(data[:end] == _SEPARATOR)
    bounds = np.searchsorted(starts, separators)
    hashes = hash_spans(data, starts, lengths)
    if len(foreign) > len(separators) and len(starts):
        odd = np.flatnonzero(np.bitwise_or.reduceat((inside & (data[:end] >= 0x80)).view(np.uint8), starts))
        hashes[odd], lengths[odd] = _decomposed(data, starts[odd], lengths[odd])
    return RedPajamaWords(hashes, lengths, bounds, data[:end].tobytes())


def _decomposed(data: Bytes, starts: Ints, lengths: Ints) -> tuple[Hashes, Ints]:
    """Hashes and lengths of words in lower case and NFD."""
    ends = np.cumsum(lengths + 1)
    gathered = np.full(int(ends[-1]) if len(ends) else 0, 0x0A, np.uint8)
    places = np.arange(len(gathered)) - np.repeat(ends - lengths - 1, lengths + 1) + np.repeat(starts, lengths + 1)
    kept = np.ones(len(gathered), bool)
    kept[ends - 1] = False
    gathered[kept] = data[places[kept]]
    text = unicodedata.normalize("NFD", gathered.tobytes().decode().lower())
    found = np.frombuffer(text.encode() + bytes(8), np.uint8)
    breaks = np.flatnonzero(found[:-8] == 0x0A)
    begins = np.concatenate(([0], breaks[:-1] + 1))
    characters = np.concatenate(([0], np.cumsum((found & 0xC0) != 0x80)))
    return hash_spans(found, begins, breaks - begins), characters[breaks] - characters[begins]


def _blank(data: Bytes, foreign: Ints) -> None:
    """Write spaces over white space that is not ASCII. ``foreign`` are the places of all bytes from 0x80."""
    first, second, third = data[foreign], data[foreign + 1], data[foreign + 2]
    two = foreign[(first == 0xC2) & ((second == 0x85) | (second == 0xA0))]
    low = (third <= 0x8A) | (third == 0xA8) | (third == 0xA9) | (third == 0xAF)
    three = foreign[
        (first == 0xE1) & (second == 0x9A) & (third == 0x80)
        | (first == 0xE2) & (second == 0x80) & low
        | (first == 0xE2) & (second == 0x81) & (third == 0x9F)
        | (first == 0xE3) & (second == 0x80) & (third == 0x80)
    ]
    for places, size in ((two, 2), (three, 3)):
        for at in range(size):
            data[places + at] = 0x20


def tokens(joined: bytes) -> RedPajamaTokens:
    """Find the tokens of joined texts, as they are written."""
    data = np.frombuffer(joined + bytes(8), np.uint8)
    classes = np.frombuffer(bytearray(joined.translate(_CLASSES)), np.uint8)
    _classify(data[:-8], classes)
    kind = classes & (WORD | OTHER)
    edges = np.flatnonzero(kind[1:] != kind[:-1]) + 1
    separators = np.flatnonzero(data[:-8] == _SEPARATOR)
    if not len(edges):
        none = np.zeros(0, np.int64)
        return RedPajamaTokens(data, none, none, np.zeros(0, np.uint8), np.zeros(len(separators), np.int64))
    bits = np.bitwise_or.reduceat(classes, edges)
    lengths = np.diff(edges, append=len(classes))
    real = bits != 0
    starts = edges[real]
    return RedPajamaTokens(data, starts, lengths[real], bits[real], np.searchsorted(starts, separators))


def _classify(data: Bytes, classes: Bytes) -> None:
    """Fill in the classes of characters beyond ASCII, on all their bytes."""
    leads = np.flatnonzero((data >= 0xC0) & (data != _SEPARATOR))
    if not len(leads):
        return
    first = data[leads].astype(np.int32)
    sizes = 2 + (first >= 0xE0) + (first >= 0xF0)
    points = first & (0x7F >> sizes)
    for size in (2, 3, 4):
        longer = np.flatnonzero(sizes >= size)
        points[longer] = points[longer] << 6 | data[leads[longer] + size - 1] & 0x3F
    # Texts have few different characters, so only those are looked up.
    there = np.zeros(0x110000, bool)
    there[points] = True
    table = np.zeros(0x110000, np.uint8)
    for code in np.flatnonzero(there).tolist():
        table[code] = _class_of(chr(code))
    found = table[points]
    for at in range(4):
        reaching = sizes > at
        classes[leads[reaching] + at] = found[reaching]


def split_already(words: pa.Array) -> RedPajamaWords:
    """Hash words that are split already: one list of strings per document, compared as they are."""
    flat = words.flatten()
    data = np.frombuffer(join(flat) + bytes(8), np.uint8)
    breaks = np.flatnonzero(data[:-8] == _SEPARATOR)
    starts = breaks[:-1] + 1 if len(flat) else breaks[:0]
    hashes = hash_spans(data, starts, breaks[1:] - starts if len(flat) else starts)
    counts = pc.fill_null(pc.list_value_length(words), 0).to_numpy(zero_copy_only=False)
    lengths = pc.utf8_length(flat).to_numpy(zero_copy_only=False).astype(np.int64)
    return RedPajamaWords(hashes, lengths, np.concatenate(([0], np.cumsum(counts))).astype(np.int64))


class Lookup:
    """A small set of hashes that many can be looked up in at once."""

    def __init__(self, hashes: Iterable[int]) -> None:
        members = np.unique(np.array(list(hashes), np.uint64))
        self._shift = np.uint64(48)
        for factor in range(0x9E3779B97F4A7C15, 0x9E3779B97F4A7C15 + 2000, 2):  # until no two fall into one slot
            self._factor = np.uint64(factor)
            places = members * self._factor >> self._shift
            if len(np.unique(places)) == len(members):
                break
        else:
            raise ValueError(f"{len(members)} hashes are too many")
        self._slots = np.zeros(1 << 16, np.uint64)
        self._slots[places] = members

    def has(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Return which of ``hashes`` are members. (An empty slot holds 0, which no text in use hashes to.)"""
        hit: NDArray[np.bool_] = self._slots[hashes * self._factor >> self._shift] == hashes
        return hit
