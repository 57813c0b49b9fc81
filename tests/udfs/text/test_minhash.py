"""Signatures: deterministic, independent of the batch, and as near as the sets of shingles are."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.udfs.helpers import Ask
from udfs.hashing import Hashes, hash_spans, mixed
from udfs.text import minhash as module
from udfs.text.decontamination_normalization import spell
from udfs.text.minhash import MinHash, minhash

_WORDS = ["a", "b", "é", "x-y", "…", "Z", "漢字", "ไทย", "かな"]
_TEXTS = st.lists(st.lists(st.sampled_from(_WORDS), max_size=20).map(" ".join), max_size=6)


def words_of(text: str) -> Hashes:
    """The hashes of a text's words, one character and one word after the other."""
    found = [word.encode() for word in "".join(map(spell, text)).split()]
    hashes = [
        hash_spans(np.frombuffer(word + bytes(8), np.uint8), np.array([0]), np.array([len(word)])) for word in found
    ]
    return np.concatenate(hashes) if hashes else np.zeros(0, np.uint64)


def directly(text: str, hashes: int, words: int) -> list[int] | None:
    """A signature, one shingle and one hash function after the other."""
    found = words_of(text)
    if not len(found):
        return None
    shingles = set()
    for start in range(max(len(found) - words + 1, 1)):
        value = found[start : start + 1]
        for each in found[start + 1 : start + words]:
            value = mixed(value + each)
        shingles.add(int(value[0]) >> 32)
    flips, factors = module._constants(hashes)
    pairs = zip(flips.tolist(), factors.tolist(), strict=True)
    return [min((shingle ^ flip) * factor % 2**32 for shingle in shingles) for flip, factor in pairs]


@given(_TEXTS, st.integers(1, 20), st.integers(1, 6), st.integers(1, 40))
def test_the_signatures_are_those_of_the_definition(texts: list[str], hashes: int, words: int, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        patch.setattr(module, "_PIECE", block)
        found = minhash(pa.array(texts, pa.string()), hashes, words)["signature"].to_pylist()
    assert found == [directly(text, hashes, words) for text in texts]


def test_signatures_stay_the_same_between_versions() -> None:
    """They are stored: whoever changes them changes the number VERSION, and this."""
    text = "The quick brown fox jumps over the lazy dog, été 中文."
    (signature,) = minhash(pa.array([text]), 4, 5)["signature"].to_pylist()
    assert signature == [1269547841, 608656975, 144662673, 683728387] and module.VERSION == 2


def test_what_is_written_differently_but_reads_the_same_has_one_signature() -> None:
    same = ["One, two; three\nfóur - FIVE six!", "one two three four five six", "\u3000One two three\tfour-five six."]
    first, *others = minhash(pa.array([*same, "One two three four six five"]), 126, 5)["signature"].to_pylist()
    assert others[:2] == [first, first]
    assert others[2] != first


#: Scripts that are written without spaces, by the first of some letters and their number.
UNSPACED = {
    "Chinese": (0x4E00, 200),
    "Japanese": (0x3041, 80),
    "Thai": (0x0E01, 46),
    "Khmer": (0x1780, 35),
    "Burmese": (0x1000, 33),
    "Lao": (0x0E94, 30),
    "Tibetan": (0x0F40, 40),
}


@pytest.mark.parametrize("script", UNSPACED)
def test_a_text_without_spaces_has_near_duplicates(script: str) -> None:
    """An edited letter in fifty leaves most shingles as they are; another text has none in common."""
    chance = random.Random(7)
    start, count = UNSPACED[script]
    letters = [chr(code) for code in range(start, start + count) if chr(code).isalpha()]
    text = "".join(chance.choices(letters, k=600))
    edited = "".join(chance.choice(letters) if at % 50 == 25 else letter for at, letter in enumerate(text))
    other = "".join(chance.choices(letters, k=600))
    one, two, three = minhash(pa.array([text, edited, other]), 126, 5)["signature"].to_pylist()
    assert sum(a == b for a, b in zip(one, two, strict=True)) > 0.7 * 126
    assert sum(a == b for a, b in zip(one, three, strict=True)) < 0.1 * 126


def test_the_share_of_equal_numbers_estimates_the_similarity() -> None:
    random_numbers = np.random.default_rng(0)
    for common, alone in ((100, 200), (300, 60), (390, 10)):
        estimates = []
        for _ in range(200):
            both, left, right = (random_numbers.integers(0, 2**63, n, np.uint64) for n in (common, alone, alone))
            hashes = np.concatenate((both, left, both, right))
            bounds = np.array([0, common + alone, 2 * (common + alone)])
            values = module.signatures(hashes, bounds, 126, 1)
            one, two = values.to_pylist()
            estimates.append(sum(a == b for a, b in zip(one, two, strict=True)) / 126)
        similarity = common / (common + 2 * alone)
        deviation = (similarity * (1 - similarity) / 126) ** 0.5
        assert abs(np.mean(estimates) - similarity) < 5 * deviation / 200**0.5
        assert np.std(estimates) == pytest.approx(deviation, rel=0.25)  # so the functions are independent


def test_hostile_texts(ask: Ask, hostile: list[str]) -> None:
    function = MinHash().bind((126, 5))
    together = ask(function, [*hostile, "a" * 10_000_000, "a " * 1_000_000])
    assert all(row["status"] == "ok" for row in together)
    alone = ask(function, hostile[:50], batch=1)
    assert [row["signature"] for row in alone] == [row["signature"] for row in together[:50]]


def test_edited_web_pages(shared_data: Path) -> None:
    """The similarity of a page and of the page with words changed is the one that its shingles have."""
    with gzip.open(shared_data / "web" / "extracted_docs.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in itertools.islice(file, 60)]
    chance = random.Random(5)
    edited = [" ".join(w if chance.random() > 0.05 else "changed" for w in text.split()) for text in texts]
    signatures = minhash(pa.array(texts + edited), 1024, 5)["signature"].to_pylist()
    for text, change, one, two in zip(texts, edited, signatures, signatures[len(texts) :], strict=False):
        sets = []
        for each in (text, change):
            found = words_of(each).tolist()
            sets.append({tuple(found[i : i + 5]) for i in range(max(len(found) - 4, 1))})
        similarity = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
        assert sum(a == b for a, b in zip(one, two, strict=True)) / 1024 == pytest.approx(similarity, abs=0.08)
