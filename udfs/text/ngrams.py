"""Word n-grams: what a benchmark item is known by, and their hashes.

An item is known by its runs of 13 words (GPT-3, appendix C; Essential-Web, section A.6). One of 8 to 12 words is known
by all of them together; a shorter one by nothing, because other texts say the same by chance. A run of numbers alone
identifies nothing either: every table of the numbers from 1 to 13 would quote it.

Punctuation separates words, but people also delete it, and dumps escape it. An item therefore counts in several
spellings: as it is, without its apostrophes (``dont``), without any punctuation (``80000`` for ``80,000``), and as JSON
and HTML write it. All that is paid for when the filter is made; a document is read as it is only.
"""

from __future__ import annotations

import html
import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np
import pyarrow as pa

from udfs.hashing import Hashes, mixed
from udfs.text.decontamination_normalization import pieces, words

N = 13
SHORTEST = 8

#: Changes whenever the same text gets other n-grams.
VERSION = 1

_BASE = 0x9E3779B97F4A7C15
_APOSTROPHES = "'`´ʹʻʼʽˈ‘’‛′＇"


class _Deleted(dict[int, int | None]):
    """A table for ``str.translate`` that deletes what separates words, but not white space."""

    def __missing__(self, code: int) -> int | None:
        character = chr(code)
        separates = unicodedata.category(character)[0] in "PSC" and not character.isspace()
        self[code] = None if separates else code
        return self[code]


_DELETED = _Deleted()
_UNMARKED = str.maketrans("", "", _APOSTROPHES)


def spellings(text: str) -> list[str]:
    """Return a text as it is, and as it is found with other punctuation; each once."""
    escaped = html.escape(text)
    found = [text, text.translate(_UNMARKED), text.translate(_DELETED), json.dumps(text), escaped]
    return list(dict.fromkeys([*found, escaped.replace("&#x27;", "&#39;")]))


def ngrams(texts: Sequence[str]) -> list[list[str]]:
    """Return what each item is known by: n-grams of words joined by blanks, each once.

    >>> ngrams(["One two three four.", "Re-count: one two three four five six seven!"])
    [[], ['re count one two three four five six seven', 'recount one two three four five six seven']]
    """
    spelled = [spellings(text) for text in texts]
    each = _words_of([spelling for several in spelled for spelling in several])
    found: list[list[str]] = []
    for several in spelled:
        known: dict[str, None] = {}
        for _ in several:
            known.update(dict.fromkeys(" ".join(gram) for gram in _grams(next(each))))
        found.append(list(known))
    return found


def _grams(spelled: Sequence[str]) -> Iterator[Sequence[str]]:
    if SHORTEST <= len(spelled) < N:
        yield spelled
    for start in range(len(spelled) - N + 1):
        gram = spelled[start : start + N]
        if not all(word[0] in "0123456789" for word in gram):
            yield gram


def _words_of(texts: list[str]) -> Iterator[list[str]]:
    for _, content, bounds in pieces(pa.array(texts, pa.large_string()), 1 << 20):
        found = words(content, bounds)
        for begin, end in zip(found.first[:-1].tolist(), found.first[1:].tolist(), strict=True):
            yield found.texts(begin, end)


def rolled(hashes: Hashes, n: int) -> Hashes:
    """Hash every ``n`` consecutive words, by place: a polynomial in the words' hashes, modulo 2**64.

    Runs of 1, 2, 4, … words are made of two halves each, and those that ``n`` needs are joined: 10 passes for 13.
    """
    result: Hashes | None = None
    run, size, taken, base = hashes, 1, 0, _BASE
    while True:
        if n & size:
            if result is None:
                result = run
            else:
                places = len(hashes) - taken - size + 1
                result = result[: max(places, 0)] * np.uint64(base) + run[taken : taken + max(places, 0)]
            taken += size
        if taken == n:
            return mixed(result + np.uint64(n)) if result is not None else hashes
        run = run[: max(len(run) - size, 0)] * np.uint64(base) + run[size:]
        base = base * base % 2**64
        size *= 2


def gram_hashes(grams: Iterable[str], head: int | None = None) -> dict[int, Hashes]:
    """Hash n-grams as ``ngrams`` gives them, or their first ``head`` words. Returns hashes by number of words."""
    result = {}
    for n, some in groupby(sorted(grams, key=_size), _size):
        column = pa.array(list(some), pa.large_string())
        parts = []
        for _, content, bounds in pieces(column, 1 << 20):
            found = words(content, bounds)
            parts.append(rolled(found.hashes(), head or n)[found.first[:-1]])
        result[n] = np.concatenate(parts)
    return result


def _size(gram: str) -> int:
    return gram.count(" ") + 1
