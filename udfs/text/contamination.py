"""``contamination``: whether a text quotes a benchmark, which one, how often, and where first.

The n-grams of all benchmark items (``udfs.text.ngrams``) are in one Bloom filter. They are also in one for each
benchmark, which is asked only about what the first one knows. So memory is that of the filters, whatever is read, and a
text is read once. A filter takes a foreign n-gram for one of its own with probability ``RATE`` at most: of a million
texts of 1,000 words it is one. Each answer therefore keeps the passages that were found, and SQL can compare them with
the benchmarks' own n-grams (``item_ngrams``), word by word.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from udfs.errors import UsageError
from udfs.expensive import BoundFunction, answered, fingerprint
from udfs.hashing import Bloom, Bytes, Hashes, Ints
from udfs.text.decontamination_normalization import NormalizedWords, pieces, words
from udfs.text.ngrams import SHORTEST, VERSION, N, gram_hashes, ngrams, rolled

#: The probability that a filter takes a foreign n-gram for one of a benchmark.
RATE = 1e-9

#: Bytes that are worked on at once: with 128 kB the arrays stay in a processor's cache (330 MB/s against 96 with 1 MB).
_RUN = 1 << 17

#: A longer text is read in parts of this many bytes.
_PART = 1 << 22

#: Words of passages that an answer keeps. What is found beyond is counted only.
KEPT = 100_000

_QUOTE = pa.struct([("benchmark", pa.string()), ("n_grams", pa.int64()), ("position", pa.int64())])
_PASSAGE = pa.struct([("n", pa.int64()), ("words", pa.list_(pa.string())), ("positions", pa.list_(pa.int64()))])

COLUMNS = pa.schema(
    [
        ("benchmark", pa.string()),
        ("n_grams", pa.int64()),
        ("position", pa.int64()),
        ("benchmarks", pa.list_(_QUOTE)),
        ("passages", pa.list_(_PASSAGE)),
    ]
)


class Benchmarks(Protocol):
    """The items of the benchmarks that documents are compared with."""

    @property
    def fingerprint(self) -> str:
        """Changes when an item comes or goes."""

    def items(self) -> Iterator[tuple[str, str]]:
        """Yield a benchmark's name and the text of an item, for all items of all benchmarks."""


@dataclass(slots=True)
class Quotes:
    """What a text quotes. Positions are of characters, counted from 1 as SQL's ``substr`` does."""

    n_grams: int = 0
    position: int | None = None
    by_benchmark: dict[str, list[int]] = field(default_factory=dict)  # how many n-grams; the position of the first
    passages: list[dict[str, Any]] = field(default_factory=list)
    _words: int = 0

    def row(self) -> dict[str, Any]:
        """Return the answer, by the names of ``COLUMNS``: the benchmark with the most n-grams comes first."""
        order = sorted(self.by_benchmark.items(), key=lambda each: (-each[1][0], each[0]))
        named = [{"benchmark": name, "n_grams": count, "position": first} for name, (count, first) in order]
        return {
            "benchmark": named[0]["benchmark"] if named else None,
            "n_grams": self.n_grams,
            "position": self.position,
            "benchmarks": named,
            "passages": self.passages,
        }

    def add(
        self, found: NormalizedWords, hits: _Hits, positions: Sequence[int], names: Sequence[str], before: int
    ) -> None:
        """Count hits in the words of a text, the first of which has the number ``before``; each has a position."""
        at = [positions[place - before] for place in hits.places.tolist()]
        self.n_grams += len(at)
        self.position = min(at) if self.position is None else min(self.position, *at)
        for number, name in enumerate(names):
            here = np.flatnonzero(hits.benchmarks[number])
            if len(here):
                count, first = self.by_benchmark.get(name, [0, at[here[0]]])
                self.by_benchmark[name] = [count + len(here), min(first, at[here[0]])]
        for n, begin, end in hits.passages():
            end = min(end, begin + KEPT - self._words)
            if end - begin >= n:
                self._words += end - begin
                where = list(positions[begin - before : end - before])
                self.passages.append({"n": n, "words": found.texts(begin, end), "positions": where})


@dataclass(frozen=True, slots=True)
class _Hits:
    """Places where n-grams of benchmarks begin, ascending."""

    places: Ints  # numbers of words
    sizes: Ints  # how many words the n-gram has
    benchmarks: NDArray[np.bool_]  # by benchmark, then by place

    def take(self, which: NDArray[Any]) -> _Hits:
        return _Hits(self.places[which], self.sizes[which], self.benchmarks[:, which])

    def passages(self) -> Iterator[tuple[int, int, int]]:
        """Yield runs of n-grams that begin word after word: the size, the first word, the word after the last."""
        for n in np.unique(self.sizes).tolist():
            places = self.places[self.sizes == n]
            for run in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
                yield n, int(run[0]), int(run[-1]) + n


@dataclass(frozen=True, slots=True)
class Filter:
    """The n-grams of benchmarks, as Bloom filters."""

    every: Bloom
    by_benchmark: Mapping[str, Bloom]
    heads: Bloom | None  # the first words of n-grams shorter than N, if there are such
    shorter: tuple[int, ...]  # how many words those have

    @classmethod
    def of(cls, grams: Mapping[str, Iterable[str]], rate: float = RATE) -> Filter:
        """Make the filter of n-grams (``udfs.text.ngrams.ngrams``) by benchmark."""
        empty = np.zeros(0, np.uint64)
        hashes: dict[str, list[Hashes]] = {}
        heads: list[Hashes] = []
        shorter: set[int] = set()
        for name, some in sorted(grams.items()):
            distinct = set(some)
            known = gram_hashes(distinct)
            hashes[name] = [empty, *known.values()]
            shorter |= known.keys() - {N}
            heads += gram_hashes((each for each in distinct if each.count(" ") + 1 < N), SHORTEST).values()
        filters = {name: Bloom.of(np.concatenate(each), rate) for name, each in hashes.items()}
        every = Bloom.of(np.concatenate([empty, *(part for each in hashes.values() for part in each)]), rate)
        return cls(every, filters, Bloom.of(np.concatenate(heads), rate) if heads else None, tuple(sorted(shorter)))

    def scan(self, texts: pa.Array) -> list[Quotes | None]:
        """Find what each text of an Arrow column quotes; None: nothing."""
        result: list[Quotes | None] = [None] * len(texts)
        if not self.by_benchmark:
            return result
        for begin, content, bounds in pieces(texts, _RUN):
            if len(content) > _PART:
                result[begin] = self._long(content)
            else:
                for text, quotes in self._run(content, bounds):
                    result[begin + text] = quotes
        return result

    def _run(self, content: Bytes, bounds: Ints) -> Iterator[tuple[int, Quotes]]:
        found = words(content, bounds)
        hits = self._hits(found)
        if hits is None:
            return
        owners = np.searchsorted(found.first, hits.places, side="right") - 1
        origins = found.origins()
        for text in np.unique(owners).tolist():
            quotes = Quotes()
            first, last = int(found.first[text]), int(found.first[text + 1])
            own = content[bounds[text] : bounds[text + 1]]
            positions = _positions(own, origins[first:last] - bounds[text])
            quotes.add(found, hits.take(owners == text), positions, tuple(self.by_benchmark), first)
            yield text, quotes

    def _long(self, content: Bytes) -> Quotes | None:
        """Find what a long text quotes.

        Parts overlap by the 12 words that an n-gram can reach back, and a broken word.
        """
        quotes = Quotes()
        begin = characters = 0
        while begin < len(content):
            end = min(begin + _PART, len(content))
            end = end if end == len(content) else _lead(content, end)  # cuts no character
            part = content[begin:end]
            found = words(part, np.array([0, len(part)]))
            hits = self._hits(found)
            following = end
            if end < len(content) and len(found) > N:
                following = begin + _lead(part, int(found.origins()[-N]))
                if hits is not None:
                    hits = hits.take(hits.places < len(found) - N)
            if hits is not None and len(hits.places):
                positions = [characters + each for each in _positions(part, found.origins())]
                quotes.add(found, hits, positions, tuple(self.by_benchmark), 0)
            characters += int(np.count_nonzero((content[begin:following] & 0xC0) != 0x80))
            begin = following
        return quotes if quotes.n_grams else None

    def _hits(self, found: NormalizedWords) -> _Hits | None:
        hashes = found.hashes()
        runs = rolled(hashes, N)
        places = self.every.found(runs)
        keys = [runs[places]]
        at = [places]
        sizes = [np.full(len(places), N)]
        if self.heads is not None:
            heads = self.heads.found(rolled(hashes, SHORTEST))
            for n in self.shorter if len(heads) else ():
                places = heads[heads + n <= len(found)]
                # The hash of the n words at each place, as if they were all there is.
                whole = rolled(hashes[places[:, None] + np.arange(n)].ravel(), n)[::n]
                known = self.every.found(whole)
                keys.append(whole[known])
                at.append(places[known])
                sizes.append(np.full(len(known), n))
        places, key, size = np.concatenate(at), np.concatenate(keys), np.concatenate(sizes)
        if not len(places):
            return None
        # No n-gram reaches from one text into the next.
        inside = places + size <= found.first[np.searchsorted(found.first, places, side="right")]
        marks = np.zeros((len(self.by_benchmark), len(places)), bool)
        for number, each in enumerate(self.by_benchmark.values()):
            marks[number, each.found(key)] = True
        order = np.lexsort((size, places))
        hits = _Hits(places, size, marks).take(order[(inside & marks.any(axis=0))[order]])
        return hits if len(hits.places) else None


def _positions(text: Bytes, places: Ints) -> list[int]:
    """Bytes of a text → the characters they belong to, counted from 1."""
    positions: list[int] = np.cumsum((text & 0xC0) != 0x80)[places].tolist()
    return positions


def _lead(content: Bytes, place: int) -> int:
    """Return where the character of this byte begins."""
    while content[place] & 0xC0 == 0x80:
        place -= 1
    return place


@dataclass(frozen=True)
class BoundContamination(BoundFunction):
    """``contamination`` against the benchmarks of a lake."""

    benchmarks: Benchmarks | None
    fingerprint: str
    labeler: str = field(default="benchmarks", init=False)
    store: str = field(default="contamination.passages", init=False)
    columns: pa.Schema = field(default=COLUMNS, init=False)
    result: None = field(default=None, init=False)

    @cached_property
    def filter(self) -> Filter:
        """The filter of the benchmarks, made when the first text comes."""
        texts: dict[str, list[str]] = {}
        for name, text in self.benchmarks.items() if self.benchmarks else ():
            texts.setdefault(name, []).append(text)
        return Filter.of({name: {gram for some in ngrams(items) for gram in some} for name, items in texts.items()})

    def answers(self, inputs: Iterator[pa.RecordBatch]) -> Generator[pa.RecordBatch, None, None]:
        """Say of every text what it quotes; see ``BoundFunction.answers``. No text fails."""
        nothing = Quotes().row()
        for batch in inputs:
            rows = [nothing if each is None else each.row() for each in self.filter.scan(batch["text"])]
            columns = [pa.array([row[name] for row in rows], self.columns.field(name).type) for name in COLUMNS.names]
            yield answered(self, batch["key"], columns)


@dataclass(frozen=True)
class BoundNgrams(BoundFunction):
    """``item_ngrams``: the same for every lake."""

    fingerprint: str = field(default=fingerprint("item_ngrams", VERSION, N, SHORTEST), init=False)
    labeler: str = field(default="words", init=False)
    store: str = field(default="contamination.ngrams", init=False)
    columns: pa.Schema = field(default=pa.schema([("ngrams", pa.list_(pa.string()))]), init=False)
    result: str = field(default="ngrams", init=False)

    def answers(self, inputs: Iterator[pa.RecordBatch]) -> Generator[pa.RecordBatch, None, None]:
        """Find the n-grams of every item; see ``BoundFunction.answers``. No text fails."""
        for batch in inputs:
            found = ngrams(batch["text"].to_pylist())
            yield answered(self, batch["key"], [pa.array(found, pa.list_(pa.string()))])


@dataclass(frozen=True)
class Contamination:
    """``contamination(text)``: which benchmark a text quotes, with how many n-grams, where the first begins."""

    benchmarks: Benchmarks | None
    name: str = field(default="contamination", init=False)

    def bind(self, options: tuple[str | int | float | bool, ...]) -> BoundFunction:
        """Fix the benchmarks as they are now. Raises UsageError for options."""
        _no_options(self.name, options)
        items = self.benchmarks.fingerprint if self.benchmarks else None
        known = fingerprint("contamination", VERSION, N, SHORTEST, RATE, KEPT, items)
        return BoundContamination(self.benchmarks, known)


@dataclass(frozen=True)
class ItemNgrams:
    """``item_ngrams(text)``: the n-grams that a benchmark item is known by."""

    name: str = field(default="item_ngrams", init=False)

    def bind(self, options: tuple[str | int | float | bool, ...]) -> BoundFunction:
        """Fix nothing. Raises UsageError for options."""
        _no_options(self.name, options)
        return BoundNgrams()


def _no_options(name: str, options: tuple[str | int | float | bool, ...]) -> None:
    if options:
        raise UsageError(f"{name} takes a text and nothing else", hint=f"write {name}(text)")
