"""``quality_signals(text)``: RedPajama-V2's signals about one text, under their published names.

They are those of its code (``app/src/core/quality_signals``), rounded to 8 decimals as there. A word is a normalized
word, a token is one of the text as written (see ``udfs.text.redpajama_words``); lists of words are English ones.

| signal | |
|---|---|
| ``rps_doc_word_count`` | words |
| ``rps_doc_mean_word_length`` | characters per word |
| ``rps_doc_num_sentences`` | stretches between runs of ``.!?`` that have a word character |
| ``rps_doc_frac_unique_words`` | different words / words |
| ``rps_doc_unigram_entropy`` | of the words' distribution, in nats |
| ``rps_doc_stop_word_fraction`` | tokens that are stop words, as written / tokens |
| ``rps_doc_frac_all_caps_words`` | tokens whose letters are capitals / tokens |
| ``rps_doc_frac_no_alph_words`` | tokens without a letter from a to z / tokens |
| ``rps_doc_symbol_to_word_ratio`` | ``#``, ``...`` and ``…`` / tokens |
| ``rps_doc_frac_lines_end_with_ellipsis`` | lines that end with ``...`` or ``…`` / lines |
| ``rps_doc_curly_bracket`` | ``{`` and ``}`` / characters |
| ``rps_doc_lorem_ipsum`` | occurrences / characters of the normalized text |
| ``rps_doc_ldnoobw_words`` | sequences of words that are on the list of bad words |
| ``rps_doc_frac_chars_top_{2,3,4}gram``, ``rps_doc_frac_chars_dupe_{5…10}grams`` | see ``udfs.text.repetition`` |

NULL where there is nothing to divide by, as there. Left out are the signals that need more than the text: the two of
cc_net (lengths before deduplication), ``rps_doc_ut1_blacklist`` (a list of domains) and the six importance weights
(models of three corpora). Signals about lines are lists in RedPajama-V2; Essential-Web does not publish them.

Thresholds on these signals are in ``sql/macros/quality.sql``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from udfs.errors import UsageError
from udfs.expensive import fingerprint
from udfs.hashing import Hashes, Ints, hash_spans, mixed
from udfs.text import redpajama_words, repetition
from udfs.text.redpajama_words import (
    ALPHABETIC,
    LOWER,
    TERMINATOR,
    UPPER,
    WORD,
    Lookup,
    RedPajamaTokens,
    RedPajamaWords,
)
from udfs.text.repetition import Floats
from udfs.vectorized import Vectorized

TOP = (2, 3, 4)
DUPLICATE = (5, 6, 7, 8, 9, 10)
NAMES = (
    "rps_doc_word_count",
    "rps_doc_mean_word_length",
    "rps_doc_num_sentences",
    "rps_doc_frac_unique_words",
    "rps_doc_unigram_entropy",
    "rps_doc_stop_word_fraction",
    "rps_doc_frac_all_caps_words",
    "rps_doc_frac_no_alph_words",
    "rps_doc_symbol_to_word_ratio",
    "rps_doc_frac_lines_end_with_ellipsis",
    "rps_doc_curly_bracket",
    "rps_doc_lorem_ipsum",
    "rps_doc_ldnoobw_words",
    *(f"rps_doc_frac_chars_top_{n}gram" for n in TOP),
    *(f"rps_doc_frac_chars_dupe_{n}grams" for n in DUPLICATE),
)
COLUMNS = pa.schema([pa.field(name, pa.float64()) for name in NAMES])

#: Another number for every change that can change a value: what is stored is then computed again.
VERSION = 1

_LISTS = Path(__file__).with_name("word_lists")
_LOREM = re.compile(rb"lorem +ipsum")


def quality_signals(texts: pa.Array) -> pa.RecordBatch:
    """Compute the signals of each text (schema ``COLUMNS``). NULL counts as an empty text.

    >>> signals = quality_signals(pa.array(["The cat saw the dog."]))
    >>> [signals[f"rps_doc_{name}"][0].as_py() for name in ("word_count", "frac_unique_words", "num_sentences")]
    [5.0, 0.8, 1.0]
    """
    joined = redpajama_words.join(texts)
    found, tokens = redpajama_words.normalized(joined), redpajama_words.tokens(joined)
    characters = pc.utf8_length(pc.fill_null(texts, "")).to_numpy(zero_copy_only=False).astype(np.int64)
    groups = repetition.word_groups(found)
    top, duplicate = repetition.shares(found, groups, TOP, DUPLICATE)
    signals = word_signals(found, groups) | token_signals(tokens, found) | line_signals(tokens)
    signals["rps_doc_symbol_to_word_ratio"] = _ratio(_symbols(tokens), np.diff(tokens.bounds))
    brackets = _per_document(np.flatnonzero((tokens.data == 0x7B) | (tokens.data == 0x7D)), _separators(tokens))
    signals["rps_doc_curly_bracket"] = _ratio(brackets, characters, 0.0)
    signals |= {f"rps_doc_frac_chars_top_{n}gram": share for n, share in top.items()}
    signals |= {f"rps_doc_frac_chars_dupe_{n}grams": share for n, share in duplicate.items()}
    columns = [np.round(signals[name], 8) for name in NAMES]
    return pa.record_batch([pa.array(column, mask=np.isnan(column)) for column in columns], schema=COLUMNS)


def word_signals(found: RedPajamaWords, groups: repetition.Groups) -> dict[str, Floats]:
    """Compute the signals about normalized words."""
    counts = found.counts
    characters = _sums(found.lengths, found.bounds)
    owners = np.searchsorted(found.bounds, groups.order[groups.starts], "right") - 1
    different = np.bincount(owners, minlength=len(counts))
    weighted = np.bincount(owners, groups.counts * np.log(groups.counts), len(counts))
    lorem = [each.start() for each in _LOREM.finditer(found.folded)]
    if lorem:
        separators = np.flatnonzero(np.frombuffer(found.folded, np.uint8) == 0xFF)
        occurrences = _per_document(np.array(lorem), separators)
    else:
        occurrences = np.zeros(len(counts))
    # log(n) - sum(c log c) / n, with n = sum(c); it cannot be below 0, whatever the rounding.
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = np.where(counts > 0, np.maximum(np.log(counts) - weighted / counts, 0.0), np.nan)
    return {
        "rps_doc_word_count": counts.astype(np.float64),
        "rps_doc_mean_word_length": _ratio(characters, counts),
        "rps_doc_frac_unique_words": _ratio(different, counts),
        "rps_doc_unigram_entropy": entropy,
        "rps_doc_lorem_ipsum": _ratio(occurrences, characters + np.maximum(counts - 1, 0), 0.0),
        "rps_doc_ldnoobw_words": _listed(found),
    }


def token_signals(tokens: RedPajamaTokens, found: RedPajamaWords) -> dict[str, Floats]:
    """Compute the signals about tokens."""
    bits, bounds = tokens.bits, tokens.bounds
    counts = np.diff(bounds)
    capitals = (bits & (UPPER | LOWER)) == UPPER
    stops, longest = _stop_words()
    maybe = np.flatnonzero((bits == (WORD | LOWER | ALPHABETIC)) & (tokens.lengths <= longest))
    hashes = hash_spans(tokens.data, tokens.starts[maybe], tokens.lengths[maybe])
    stopped = _per_document(maybe[stops.has(hashes)], bounds)
    # A sentence begins at the first word token of the document, and at each after a token with a terminator.
    word = np.flatnonzero(bits & WORD)
    terminators = np.cumsum((bits & TERMINATOR) != 0)[word]
    places = np.searchsorted(word, bounds)
    begins = np.concatenate(([True], terminators[1:] != terminators[:-1]))[: len(word)]
    begins[places[:-1][places[:-1] < len(word)]] = True
    stop_share = _ratio(stopped, counts, 0.0)
    stop_share[found.counts == 0] = 0.0
    return {
        "rps_doc_num_sentences": _sums(begins, places),
        "rps_doc_frac_all_caps_words": _ratio(_sums(capitals, bounds), counts),
        "rps_doc_frac_no_alph_words": _ratio(_sums((bits & ALPHABETIC) == 0, bounds), counts),
        "rps_doc_stop_word_fraction": stop_share,
    }


def line_signals(tokens: RedPajamaTokens) -> dict[str, Floats]:
    """Compute the signal about lines."""
    data, separators = tokens.data, _separators(tokens)
    newlines = np.flatnonzero(data == 0x0A)
    lines = _per_document(newlines, separators)
    before = data[separators[1:] - 1]
    lines += (before != 0x0A) & (before != 0xFF)  # a last line without its newline; an empty text has no line
    dots, last = _dots(tokens)
    ends = np.concatenate((last[dots >= 3] + 1, _ellipses(data) + 3))
    # The line ends there if the token does, and the next one is behind the next newline or in the next text.
    index = np.searchsorted(tokens.starts, ends - 1, "right") - 1
    after = np.append(tokens.starts, len(data))[index + 1]
    stops = np.sort(np.concatenate((newlines, separators)))
    ended = tokens.starts[index] + tokens.lengths[index] == ends
    closed = ends[ended & (stops[np.searchsorted(stops, ends)] < after)]
    return {"rps_doc_frac_lines_end_with_ellipsis": _ratio(_per_document(closed - 1, separators), lines)}


def _symbols(tokens: RedPajamaTokens) -> Floats:
    """Count the ``#``, ``...`` and ``…`` of each document."""
    separators = _separators(tokens)
    dots, last = _dots(tokens)
    threes = np.bincount(_owners(last, separators), dots // 3, len(separators) - 1)
    ones = np.concatenate((np.flatnonzero(tokens.data == 0x23), _ellipses(tokens.data)))
    return threes + _per_document(ones, separators)


def _dots(tokens: RedPajamaTokens) -> tuple[Ints, Ints]:
    """Find runs of dots. Returns how long they are, and the place of the last dot."""
    places = np.flatnonzero(tokens.data == 0x2E)
    last = np.flatnonzero(np.diff(places, append=-1) != 1)
    return np.diff(last, prepend=-1), places[last]


def _ellipses(data: NDArray[np.uint8]) -> Ints:
    leads = np.flatnonzero(data[:-8] == 0xE2)
    places: Ints = leads[(data[leads + 1] == 0x80) & (data[leads + 2] == 0xA6)]
    return places


def _separators(tokens: RedPajamaTokens) -> Ints:
    return np.flatnonzero(tokens.data == 0xFF)


def _owners(places: Ints, bounds: Ints) -> Ints:
    owners: Ints = np.searchsorted(bounds, places, "right") - 1
    return owners


def _per_document(places: Ints, bounds: Ints) -> Floats:
    """Count the ``places`` in each document."""
    return np.bincount(_owners(places, bounds), minlength=len(bounds) - 1).astype(np.float64)


def _sums(values: NDArray[Any], bounds: Ints) -> Floats:
    """Sum each document's values."""
    before = np.concatenate(([0], np.cumsum(values)))
    sums: Floats = (before[bounds[1:]] - before[bounds[:-1]]).astype(np.float64)
    return sums


def _ratio(count: NDArray[Any], total: NDArray[Any], empty: float = np.nan) -> Floats:
    """``count / total``, ``empty`` where the total is 0."""
    return np.divide(count, total, out=np.full(len(total), empty), where=np.asarray(total) > 0)


@cache
def _stop_words() -> tuple[Lookup, int]:
    """Return the stop words, and how long the longest is."""
    members = [word for line in _entries("stop_words_en.txt") for word in line.split()]
    return Lookup(_hashes(members).tolist()), max(map(len, members))


class _BadWords:
    """The listed sequences of words: by their number of words, hashes; and hashes of the first words."""

    def __init__(self) -> None:
        sequences = [line.split(" ") for line in _entries("ldnoobw_en.txt")]
        by_length: dict[int, set[int]] = {}
        for sequence in sequences:
            by_length.setdefault(len(sequence), set()).add(int(_chain(_hashes(sequence)[:, None])[0]))
        self.by_length = {length: Lookup(hashes) for length, hashes in sorted(by_length.items())}
        self.first = Lookup(_hashes([sequence[0] for sequence in sequences]).tolist())


_bad_words = cache(_BadWords)


def _entries(name: str) -> list[str]:
    lines = (_LISTS / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _hashes(entries: list[str]) -> Hashes:
    return redpajama_words.split_already(pa.array([entries], pa.list_(pa.string()))).hashes


def _chain(sequence: Hashes) -> Hashes:
    """Make one hash of each column of hashes."""
    value: Hashes = sequence[0]
    for each in sequence[1:]:
        value = mixed(value + each)
    return value


def _listed(found: RedPajamaWords) -> Floats:
    """Count the sequences of each document's words that are on the list of bad words."""
    listed = _bad_words()
    places = np.flatnonzero(listed.first.has(found.hashes))
    ends = found.bounds[1:][_owners(places, found.bounds)] if len(places) else places
    hits = [
        fitting[lookup.has(_chain(found.hashes[fitting + np.arange(length)[:, None]]))]
        for length, lookup in listed.by_length.items()
        if len(fitting := places[places + length <= ends])
    ]
    return _per_document(np.concatenate([places[:0], *hits]), found.bounds)


@dataclass(frozen=True)
class QualitySignals:
    """``quality_signals(text)``: a struct of all signals."""

    name: str = field(default="quality_signals", init=False)
    columns: pa.Schema = field(default=COLUMNS, init=False)
    result: None = field(default=None, init=False)

    def bind(self, options: tuple[str | int | float | bool, ...]) -> Vectorized:
        """Fix nothing. Raises UsageError for options."""
        if options:
            raise UsageError("quality_signals takes a text only", hint="write quality_signals(text)")
        lists = [_entries(path.name) for path in sorted(_LISTS.glob("*.txt"))]
        return Vectorized(
            store="signals.quality_signals",
            labeler="red_pajama_v2",
            fingerprint=fingerprint("quality_signals", VERSION, NAMES, lists),
            columns=COLUMNS,
            result=None,
            compute=quality_signals,
        )
