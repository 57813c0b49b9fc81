"""Repeated n-grams of words, for n from 2 to 10, of a whole batch of documents at once.

A repeated (n+1)-gram begins with a repeated n-gram and ends with one. So only places where both are repeated are
looked at, and what has to be sorted shrinks with every n: one sort of all words, then of few. Groups of equal
n-grams have numbers, and an (n+1)-gram is the pair of two such numbers: exact, where a hash of it would not be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from udfs.hashing import Ints
from udfs.text.redpajama_words import RedPajamaWords

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Groups:
    """Equal words or n-grams within a document. ``order`` lists places group by group, from ``starts[g]`` on."""

    order: Ints
    starts: Ints
    counts: Ints


def word_groups(words: RedPajamaWords) -> Groups:
    """Group the equal words of each document, document by document."""
    bits = max(len(words.bounds) - 1, 1).bit_length()
    documents = np.repeat(np.arange(len(words.bounds) - 1, dtype=np.uint64), words.counts)
    return _groups(documents << np.uint64(64 - bits) | words.hashes >> np.uint64(bits))


def _groups(keys: NDArray[np.uint64]) -> Groups:
    order = np.argsort(keys)
    keys = keys[order]
    first = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))[: len(keys)]
    return Groups(order, first, np.diff(first, append=len(keys)))


def shares(
    words: RedPajamaWords, groups: Groups, top: Collection[int] = (2, 3, 4), duplicate: Collection[int] = range(5, 11)
) -> tuple[dict[int, Floats], dict[int, Floats]]:
    """Shares of each document's characters in repeated n-grams, as RedPajama-V2 counts them; by n, 0 for no words.

    ``top``: in the most frequent n-gram, its characters times how often it occurs; of equally frequent ones, the
    first; 0 if none is repeated. ``duplicate``: in words that are in any repeated n-gram, each word once.
    """
    before = np.concatenate(([0], np.cumsum(words.lengths)))
    totals = before[words.bounds[1:]] - before[words.bounds[:-1]]
    tops = {n: np.zeros(len(totals)) for n in top}
    duplicates = {n: np.zeros(len(totals)) for n in duplicate}
    largest = max([*top, *duplicate])
    for n, places, found in _repeated(words, groups, largest):
        if n in tops:
            most = _most_frequent(n, found, places, words, before)
            np.divide(most, totals, out=tops[n], where=totals > 0)
        if n in duplicates:
            gaps = np.minimum(np.diff(places, append=places[-1] + n), n)
            documents = np.searchsorted(words.bounds, places, "right") - 1
            characters = np.bincount(documents, before[places + gaps] - before[places], len(totals))
            np.divide(characters, totals, out=duplicates[n], where=totals > 0)
    return tops, duplicates


def _repeated(words: RedPajamaWords, groups: Groups, largest: int) -> Iterator[tuple[int, Ints, Groups]]:
    """Yield for n from 2 on the places where a repeated n-gram begins, in order, and their groups (of indices)."""
    last = np.zeros(len(words.hashes) + 1, bool)
    last[words.bounds[1:] - 1] = True  # the word after it is another document's
    places, found = _without_single(groups)
    for n in range(2, largest + 1):
        if not len(places):
            return
        numbers = np.empty(len(places), np.uint64)
        numbers[found.order] = np.repeat(np.arange(len(found.counts), dtype=np.uint64), found.counts)
        follows = np.flatnonzero((places[1:] == places[:-1] + 1) & ~last[places[:-1] + n - 2])
        kept, found = _without_single(_groups(numbers[follows] << np.uint64(32) | numbers[follows + 1]))
        places = places[follows[kept]]
        if len(places):
            yield n, places, found


def _without_single(groups: Groups) -> tuple[Ints, Groups]:
    """Return the members of groups of more than one, in order, and these groups, with members by their new index."""
    many = groups.counts > 1
    members = groups.order[np.repeat(many, groups.counts)]
    mask = np.zeros(len(groups.order), bool)
    mask[members] = True
    counts = groups.counts[many]
    return np.flatnonzero(mask), Groups((np.cumsum(mask) - 1)[members], np.cumsum(counts) - counts, counts)


def _most_frequent(n: int, groups: Groups, places: Ints, words: RedPajamaWords, before: Ints) -> Floats:
    """Return the characters of each document in its most frequent repeated n-gram."""
    firsts = places[np.minimum.reduceat(groups.order, groups.starts)]
    documents = np.searchsorted(words.bounds, firsts, "right") - 1
    ranked = np.lexsort((firsts, -groups.counts, documents))
    best = ranked[np.concatenate(([True], documents[ranked][1:] != documents[ranked][:-1]))]
    inside = (before[firsts[best] + n] - before[firsts[best]]) * groups.counts[best]
    found = np.zeros(len(words.bounds) - 1)
    found[documents[best]] = inside
    return found
