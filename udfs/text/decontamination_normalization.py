"""Normalized words as decontamination compares them, for whole Arrow columns at once: equal words have equal bytes.

The definition is our own. That of RedPajama-V2 is another one (``udfs.text.redpajama_words``).

A text is spelled code point by code point. Each is decomposed (NFKD), case-folded and decomposed again; of what
comes out, marks (M) and format characters (Cf: soft hyphens, zero-width characters) are dropped, decimal digits of
any script become ASCII, letters and numbers (L, N) stay, and everything else (white space, punctuation, symbols,
control characters) separates words. So ``Ｃａｆé’S`` is ``cafe s``. In scripts that are written without spaces (Han,
Kana, Thai, Lao, Khmer, Burmese, Tibetan, …) each letter is a word. No code point's spelling depends on its
neighbours, which is why precomposed and decomposed texts are spelled alike, and why a table of code points will do.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from udfs.hashing import Bytes, Hashes, Ints, hash_spans

_SPACE = 0x20
#: A byte of no spelling: where a text's own bytes were more than their spelling's.
_GAP = 0

#: Scripts written without spaces, as first and last code points of blocks.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x109F),  # Tibetan, Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19FF),  # Tai Le, New Tai Lue, Khmer symbols
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),  # 々〆〇
    (0x3021, 0x312F),  # Hangzhou numerals, Kana, Bopomofo
    (0x31A0, 0x4DBF),  # Bopomofo, strokes, Kana, Han
    (0x4E00, 0x9FFF),  # Han
    (0xA000, 0xA4CF),  # Yi
    (0xA9E0, 0xA9FF),  # Burmese
    (0xAA60, 0xAADF),  # Burmese, Tai Viet
    (0xF900, 0xFAFF),  # Han
    (0x1AFF0, 0x1B16F),  # Kana
    (0x20000, 0x3FFFF),  # Han
)
_FIRST, _LAST = zip(*_UNSPACED, strict=True)


def spell(character: str) -> str:
    """Spell one character: letters and numbers, blanks where words are separated, or nothing.

    >>> [spell(each) for each in "Aß⑫ﬁ!\u0301漢"]
    ['a', 'ss', '12', 'fi', ' ', '', ' 漢 ']
    """
    decomposed = unicodedata.normalize("NFKD", character).casefold()
    return "".join(map(_kept, unicodedata.normalize("NFKD", decomposed)))


def _kept(character: str) -> str:
    category = unicodedata.category(character)
    if category[0] == "M" or category == "Cf":
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category[0] not in "LN":
        return " "
    block = bisect_right(_FIRST, ord(character)) - 1
    return f" {character} " if block >= 0 and ord(character) <= _LAST[block] else character


class _Speller:
    """The table of spellings; a page of 256 code points is filled when a text first needs it (0.5 ms)."""

    def __init__(self) -> None:
        self.length = np.zeros(0x110000, np.uint8)
        self.start = np.zeros(0x110000, np.int64)
        self.pool = np.zeros(8, np.uint8)
        self._filled = np.zeros(0x1100, bool)
        self.ascii = np.full(256, _GAP, np.uint8)
        for code in range(128):
            self.ascii[code] = ord(spell(chr(code)))

    def fill(self, codes: NDArray[np.uint32]) -> None:
        """Make the pages of these code points ready."""
        pages = codes >> 8
        needed = pages[~self._filled[pages]]
        for page in np.unique(needed).tolist():
            spelled: list[bytes] = []
            for code in range(page << 8, (page + 1) << 8):
                # A surrogate is not a character; a valid text has none.
                word = b" " if 0xD800 <= code < 0xE000 else spell(chr(code)).encode()
                self.start[code] = len(self.pool) + sum(map(len, spelled))
                self.length[code] = len(word)
                spelled.append(word)
            self.pool = np.concatenate([self.pool, np.frombuffer(b"".join(spelled), np.uint8)])
            self._filled[page] = True


_speller = cache(_Speller)


@dataclass(frozen=True, slots=True)
class _Grown:
    """Characters whose spelling is longer than they are."""

    places: Ints  # where they are in the texts, in bytes
    total: Ints  # by how many bytes all before each are longer; one more entry than places

    def spelled(self, places: Ints) -> Ints:
        """Turn places in the texts into places in the spelling."""
        return places + self.total[np.searchsorted(self.places, places, side="left")]

    def origins(self, places: Ints) -> Ints:
        """Turn places in the spelling into places in the texts: in the bytes of the character that is spelled there."""
        last = np.searchsorted(self.places + self.total[:-1], places, side="right")
        return np.maximum(places - self.total[last], np.append(0, self.places)[last])


@dataclass(frozen=True, slots=True)
class NormalizedWords:
    """The words of consecutive texts.

    Word i is ``spelled[starts[i]:ends[i]]``; text t has the words from ``first[t]`` up to ``first[t + 1]``.
    """

    spelled: Bytes  # and at least 8 bytes behind the last word
    starts: Ints
    ends: Ints
    first: Ints
    _gapped: Bytes | None  # the spelling with its gaps; None: no gaps, its bytes have the places of the texts'
    _grown: _Grown | None

    def __len__(self) -> int:
        return len(self.starts)

    def hashes(self) -> Hashes:
        """Return a hash of each word."""
        return hash_spans(self.spelled, self.starts, self.ends - self.starts)

    def texts(self, begin: int, end: int) -> list[str]:
        """Return the words from ``begin`` up to ``end``."""
        pairs = zip(self.starts[begin:end].tolist(), self.ends[begin:end].tolist(), strict=True)
        return [self.spelled[a:b].tobytes().decode() for a, b in pairs]

    def origins(self) -> Ints:
        """Return for each word a byte of the texts, one of those of its first character."""
        if self._gapped is None:
            return self.starts
        places = np.flatnonzero(self._gapped != _GAP)[self.starts]
        return places if self._grown is None else self._grown.origins(places)


def words(text: Bytes, bounds: Ints) -> NormalizedWords:
    """Find the words of texts in one buffer: UTF-8, text t from ``bounds[t]`` up to ``bounds[t + 1]``.

    The first bound is 0, the last is the length of ``text``.
    """
    spelled, gapped, grown = _spelled(text)
    if gapped is not None:
        bounds = _counted(gapped != _GAP, grown.spelled(bounds) if grown else bounds)
    size = int(bounds[-1])
    letter = spelled[:size] != _SPACE
    begins, finishes = letter.copy(), letter.copy()
    begins[1:] &= ~letter[:-1]
    finishes[:-1] &= ~letter[1:]
    # Two texts that meet letter to letter do not share a word.
    edges = bounds[(bounds > 0) & (bounds < size)]
    begins[edges] = letter[edges]
    finishes[edges - 1] = letter[edges - 1]
    starts = np.flatnonzero(begins)
    return NormalizedWords(
        spelled, starts, np.flatnonzero(finishes) + 1, np.searchsorted(starts, bounds), gapped, grown
    )


def _spelled(text: Bytes) -> tuple[Bytes, Bytes | None, _Grown | None]:
    """Spell a text. Returns the spelling and 8 bytes; the same with its gaps; the characters it is longer for."""
    speller = _speller()
    size = len(text)
    spelled = np.zeros(size + 8, np.uint8)
    np.take(speller.ascii, text, out=spelled[:size], mode="clip")  # "clip" spares a copy; no byte is outside
    leads = np.flatnonzero(text >= 0xC0)
    if not len(leads):
        return spelled, None, None
    codes, width = _decoded(text, leads)
    speller.fill(codes)
    length = speller.length[codes].astype(np.int64)
    start = speller.start[codes]
    grown = None
    growth = np.maximum(length - width, 0)
    longer = growth > 0
    if longer.any():
        grown = _Grown(leads[longer], np.append(0, np.cumsum(growth[longer])))
        counts = np.ones(size + 8, np.int64)
        counts[leads] += growth
        spelled = np.repeat(spelled, counts)
        leads = leads + np.append(0, np.cumsum(growth[:-1]))
    for k in range(int(length.max())):
        if k:
            some = length > k
            leads, start, length = leads[some], start[some], length[some]
        elif not length.all():
            some = length > 0
            leads, start, length = leads[some], start[some], length[some]
        spelled[leads + k] = speller.pool[start + k]
    gapped = spelled[:-8]
    return np.concatenate([gapped[gapped != _GAP], np.zeros(8, np.uint8)]), gapped, grown


def _decoded(text: Bytes, leads: Ints) -> tuple[NDArray[np.uint32], Ints]:
    """Return the code points that begin at ``leads``, and how many bytes each has."""
    following = np.concatenate([text[1:], np.zeros(4, np.uint8)])
    first = text[leads].astype(np.uint32)
    codes = (first & 0x1F) << 6 | (following[leads] & 0x3F)
    width = np.full(len(leads), 2)
    three = np.flatnonzero(first >= 0xE0)
    if len(three):
        codes[three] = (codes[three] & 0x3FF) << 6 | (following[leads[three] + 1] & 0x3F)
        width[three] = 3
    four = np.flatnonzero(first >= 0xF0)
    if len(four):
        codes[four] = (codes[four] & 0x7FFF) << 6 | (following[leads[four] + 2] & 0x3F)
        width[four] = 4
    return codes, width


def _counted(marked: NDArray[np.bool_], bounds: Ints) -> Ints:
    """Count the marks before each bound."""
    counts = np.zeros(len(bounds), np.int64)
    some = np.flatnonzero(bounds[1:] > bounds[:-1])
    if len(some):
        counts[some + 1] = np.add.reduceat(marked.view(np.uint8), bounds[some], dtype=np.int64)
    return np.cumsum(counts)


def pieces(texts: pa.StringArray, size: int) -> Iterator[tuple[int, Bytes, Ints]]:
    """Cut a column into runs of whole texts of about ``size`` bytes: number of the first text, bytes, bounds.

    A text longer than that is a run of its own. NULL is an empty text.
    """
    if not len(texts):
        return
    kind = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, kind)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    content = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    begin = 0
    while begin < len(texts):
        end = max(int(np.searchsorted(bounds, bounds[begin] + size, side="right")) - 1, begin + 1)
        here = bounds[begin : end + 1]
        yield begin, content[here[0] : here[-1]], here - here[0]
        begin = end
