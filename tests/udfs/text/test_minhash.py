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
from udfs.hashing import mixed
from udfs.text import minhash as module
from udfs.text import redpajama_words as splitting
from udfs.text.minhash import MinHash, minhash
from udfs.text.redpajama_words import RedPajamaWords

_TEXTS = st.lists(st.lists(st.sampled_from(["a", "b", "é", "x-y", "…", "Z"]), max_size=20).map(" ".join), max_size=6)


def directly(text: str, hashes: int, words: int) -> list[int] | None:
    """A signature, one shingle and one hash function after the other."""
    found = splitting.normalized(splitting.join(pa.array([text]))).hashes
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
        found = minhash(pa.array(texts, pa.string()), hashes, words)["signature"].to_pylist()
    assert found == [directly(text, hashes, words) for text in texts]


def test_signatures_stay_the_same_between_versions() -> None:
    """They are stored: whoever changes them changes the number VERSION, and this."""
    text = "The quick brown fox jumps over the lazy dog, été 中文."
    (signature,) = minhash(pa.array([text]), 4, 5)["signature"].to_pylist()
    assert signature == [118902324, 608656975, 144662673, 683728387] and module.VERSION == 1


def test_what_is_written_differently_but_reads_the_same_has_one_signature() -> None:
    same = ["One, two; three\nfour - FIVE six!", "one two three four five six", "\u3000One two three\tfour five six."]
    first, *others = minhash(pa.array([*same, "One two three four six five"]), 126, 5)["signature"].to_pylist()
    assert others[:2] == [first, first]
    assert others[2] != first


def test_the_share_of_equal_numbers_estimates_the_similarity() -> None:
    random_numbers = np.random.default_rng(0)
    for common, alone in ((100, 200), (300, 60), (390, 10)):
        estimates = []
        for _ in range(200):
            both, left, right = (random_numbers.integers(0, 2**63, n, np.uint64) for n in (common, alone, alone))
            hashes = np.concatenate((both, left, both, right))
            bounds = np.array([0, common + alone, 2 * (common + alone)])
            values = module.signatures(RedPajamaWords(hashes, np.ones(len(hashes), np.int64), bounds), 126, 1)
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
            found = splitting.normalized(splitting.join(pa.array([each]))).hashes.tolist()
            sets.append({tuple(found[i : i + 5]) for i in range(max(len(found) - 4, 1))})
        similarity = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
        assert sum(a == b for a, b in zip(one, two, strict=True)) / 1024 == pytest.approx(similarity, abs=0.08)
