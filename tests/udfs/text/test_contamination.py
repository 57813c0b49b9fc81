"""Whoever quotes 13 words of a benchmark is found, however it is written, and nobody else."""

from __future__ import annotations

import gzip
import html
import json
import random
import re
import string
import textwrap
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.udfs.helpers import slow_words
from udfs.errors import UsageError
from udfs.expensive import INPUT_SCHEMA
from udfs.hashing import Bloom, mixed
from udfs.text import contamination
from udfs.text.contamination import Filter, Quotes
from udfs.text.decontamination_normalization import words
from udfs.text.ngrams import SHORTEST, N, ngrams, rolled

WORDS = re.split(" ", "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen")


def made(**items: Sequence[str]) -> Filter:
    return Filter.of({name: [gram for some in ngrams(texts) for gram in some] for name, texts in items.items()})


def places(text: str, grams: set[str]) -> list[int]:
    """Where n-grams begin in a text, by the direct definition."""
    spelled, begins = slow_words(text)
    return [
        begins[start]
        for start in range(len(spelled))
        for n in range(SHORTEST, N + 1)
        if start + n <= len(spelled) and " ".join(spelled[start : start + n]) in grams
    ]


@given(st.lists(st.integers(0, 2**64 - 1), max_size=40), st.integers(1, 20))
def test_rolled_hashes_are_polynomials(values: list[int], n: int) -> None:
    direct = []
    for start in range(len(values) - n + 1):
        total = 0
        for value in values[start : start + n]:
            total = (total * 0x9E3779B97F4A7C15 + value) % 2**64
        direct.append((total + n) % 2**64)
    got = rolled(np.array(values, np.uint64), n)
    assert got.tolist() == mixed(np.array(direct, np.uint64)).tolist()


def test_equal_words_have_equal_hashes_and_others_have_not() -> None:
    texts = [*WORDS, "a", "aa", "a" * 8, "a" * 9, "a" * 16, "a" * 17, "a" * 64, "a" * 65, "b" + "a" * 63, "é", "漢"]
    text = " ".join([*texts, *reversed(texts)]).encode()
    found = words(np.frombuffer(text, np.uint8), np.array([0, len(text)]))
    hashes = found.hashes().tolist()
    assert hashes[: len(texts)] == hashes[: len(texts) - 1 : -1]
    assert len(set(hashes)) == len(texts)


@pytest.mark.parametrize("rate", [1e-2, 1e-4])
@pytest.mark.parametrize("size", [1, 1000, 100_000])
def test_a_bloom_filter_knows_its_own_and_keeps_to_its_rate(rate: float, size: int) -> None:
    generator = np.random.default_rng(size)
    own, foreign = generator.integers(0, 2**63, (2, size), np.uint64)
    bloom = Bloom.of(own, rate)
    assert len(bloom.found(own)) == size
    assert all(int(each) in bloom for each in own[:10])
    foreign = generator.integers(2**63, 2**64 - 1, 1_000_000, np.uint64)
    passed = len(bloom.found(foreign))
    assert bloom.rate <= rate
    # Six standard deviations about the rate that the filter says of itself.
    assert abs(passed - bloom.rate * 1e6) <= 6 * (bloom.rate * 1e6) ** 0.5 + 6


def test_memory_is_some_fifty_bits_for_an_ngram() -> None:
    keys = np.random.default_rng(1).integers(0, 2**63, 200_000, np.uint64)
    bloom = Bloom.of(keys, contamination.RATE)
    assert bloom.rate <= contamination.RATE
    assert bloom.table.nbytes * 8 < 70 * len(keys)


@given(st.data())
def test_hits_are_those_of_the_definition(data: st.DataObject) -> None:
    word = st.sampled_from(["a", "B", "c’", "漢", "7", "ü", "zz"])
    text = st.lists(word, max_size=30).map(" ".join)
    items = data.draw(st.lists(text, min_size=1, max_size=3))
    texts = [*data.draw(st.lists(text, max_size=3)), *(data.draw(text) + " " + each for each in items)]
    bloom = made(b=items)
    grams = {gram for some in ngrams(items) for gram in some}
    for each, found in zip(texts, bloom.scan(pa.array(texts)), strict=True):
        direct = places(each, grams)
        assert (found or Quotes()).n_grams == len(direct)
        assert (found or Quotes()).position == (direct[0] if direct else None)
        if found:
            in_passages = [
                " ".join(passage["words"][start : start + passage["n"]])
                for passage in found.passages
                for start in range(len(passage["words"]) - passage["n"] + 1)
            ]
            assert len(in_passages) == len(direct) and set(in_passages) <= grams


def test_no_ngram_reaches_over_the_end_of_a_text() -> None:
    bloom = made(b=[" ".join(WORDS)])
    half = " ".join(WORDS[:7]), " " + " ".join(WORDS[7:])
    assert bloom.scan(pa.array(half)) == [None, None]
    assert bloom.scan(pa.array(["".join(half)]))[0] is not None


def test_short_items_count_as_a_whole_and_shorter_ones_not_at_all() -> None:
    eight, seven = " ".join(WORDS[:8]), " ".join(WORDS[:7])
    bloom = made(b=[eight], c=[seven])
    whole, part = bloom.scan(pa.array([f"he said: {eight.upper()}!", f"he said {seven}"]))
    assert whole is not None and part is None
    assert whole.row()["benchmarks"] == [{"benchmark": "b", "n_grams": 1, "position": 10}]
    assert whole.passages[0]["words"] == WORDS[:8] and whole.passages[0]["n"] == 8


def test_numbers_alone_identify_nothing() -> None:
    numbers = " ".join(map(str, range(1, 31)))
    bloom = made(b=[f"Count: {numbers}"])
    assert bloom.scan(pa.array([numbers, f"count {numbers}"]))[0] is None
    assert bloom.scan(pa.array([f"count {numbers}"]))[0] is not None


def test_each_benchmark_is_named_with_its_ngrams_and_the_first_place() -> None:
    first, second = " ".join(WORDS), " ".join(reversed(WORDS))
    quotes = made(one=[first], two=[second, first]).scan(pa.array([f"— {second}. {first}"]))[0]
    assert quotes is not None
    assert quotes.row()["benchmark"] == "two"
    assert quotes.row()["benchmarks"] == [
        {"benchmark": "two", "n_grams": 6, "position": 3},
        {"benchmark": "one", "n_grams": 3, "position": 5 + len(second)},
    ]
    assert (quotes.n_grams, quotes.position) == (6, 3)


@pytest.mark.parametrize("space", [" ", "漢"])
def test_a_long_text_says_what_a_short_one_says(monkeypatch: pytest.MonkeyPatch, space: str) -> None:
    generator = random.Random(5)
    item = " ".join(WORDS)
    bloom = made(b=[item], short=[" ".join(WORDS[:9])])
    filling = [*WORDS, "é", "漢字", "ß" * 40, "x" * 300]
    for _ in range(30):
        text = "".join(
            generator.choice([f"{generator.choice(filling)}{space}"] * 6 + [f" {item} "])
            for _ in range(generator.randint(1, 120))
        )
        whole = bloom.scan(pa.array([text]))[0]
        with monkeypatch.context() as patch:
            patch.setattr(contamination, "_RUN", 200)
            patch.setattr(contamination, "_PART", 2_000)
            parts = bloom.scan(pa.array([text]))[0]
        assert (parts is None) == (whole is None)
        if whole and parts:
            assert parts.by_benchmark == whole.by_benchmark
            assert (parts.n_grams, parts.position) == (whole.n_grams, whole.position)


def test_hostile_texts_are_read(monkeypatch: pytest.MonkeyPatch, shared_data: Path) -> None:
    bloom = made(b=[" ".join(WORDS)])
    naughty = (shared_data / "hostile" / "blns_half.txt").read_text(encoding="utf-8").splitlines()
    texts = [*naughty, "\x00" * 5000, "a" * 10_000, "\u0301" * 5000, "ﷺ" * 1000, "\ufeff", "", "漢" * 10_000]
    assert bloom.scan(pa.array(texts)) == [None] * len(texts)
    monkeypatch.setattr(contamination, "_PART", 1000)
    monkeypatch.setattr(contamination, "_RUN", 100)
    quoted = [f"{text} {' '.join(WORDS)} {text}" for text in texts]
    assert all(bloom.scan(pa.array(quoted)))


def test_what_is_kept_of_passages_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contamination, "KEPT", 20)
    quotes = made(b=[" ".join(WORDS)]).scan(pa.array([f"{' '.join(WORDS)} | " * 10]))[0]
    assert quotes is not None and quotes.n_grams == 30
    assert [len(passage["words"]) for passage in quotes.passages] == [15]


def gsm8k(shared_data: Path) -> list[str]:
    lines = (shared_data / "benchmarks" / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["question"] for line in lines]


def lines_of(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


MARKS = string.punctuation + "‘’“”–—"
WRAPPINGS: dict[str, Callable[[str], str]] = {
    "upper case": str.upper,
    "title case": str.title,
    "other white space": lambda text: re.sub(r"\s+", "\r\n\t\u00a0\u3000", text),
    "no punctuation": lambda text: text.translate(str.maketrans("", "", MARKS)),
    "blanks for punctuation": lambda text: text.translate(str.maketrans(dict.fromkeys(MARKS, " "))),
    "other punctuation": lambda text: re.sub(r"[.,?]", " -- ", text).replace("'", "’"),
    "no apostrophes": lambda text: re.sub("['’]", "", text),
    "NFD": lambda text: unicodedata.normalize("NFD", text),
    "full width": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    "soft hyphens": "\u00ad".join,
    "zero-width spaces": "\u200b".join,
    "JSON": json.dumps,
    "HTML": html.escape,
    "bold words": lambda text: " ".join(f"**{word}**" for word in text.split()),
    "a quoted mail": lambda text: "\n".join(f"> {line}" for line in textwrap.wrap(text, 30)),
    "a chat": lambda text: f"<|im_start|>user\nQuestion:{text}<|im_end|>Answer:",
    "a table": lambda text: f"|1|{text}|42|",
}


@pytest.fixture(scope="module")
def against_gsm8k(shared_data: Path) -> Filter:
    return made(gsm8k=gsm8k(shared_data))


@pytest.mark.parametrize("wrapping", ["as it is", *WRAPPINGS])
def test_every_question_of_gsm8k_is_found(against_gsm8k: Filter, shared_data: Path, wrapping: str) -> None:
    questions = [WRAPPINGS.get(wrapping, str)(question) for question in gsm8k(shared_data)]
    found = against_gsm8k.scan(pa.array(questions))
    assert all(found) and len(found) == 1319
    assert {quotes.row()["benchmark"] for quotes in found if quotes} == {"gsm8k"}


def test_of_the_training_half_of_gsm8k_one_record_overlaps(against_gsm8k: Filter, shared_data: Path) -> None:
    train = lines_of(shared_data / "benchmarks" / "gsm8k" / "train_half.jsonl.gz")
    texts = [record["question"] for record in train]
    found = [(text, quotes) for text, quotes in zip(texts, against_gsm8k.scan(pa.array(texts)), strict=True) if quotes]
    ((text, quotes),) = found
    grams = {gram for some in ngrams(gsm8k(shared_data)) for gram in some}
    assert quotes.n_grams == len(places(text, grams)) > 0
    assert text[quotes.position - 1 :].lower().startswith("miles in 3 hours")


def test_documents_that_quote_no_benchmark_are_not_flagged(shared_data: Path) -> None:
    humaneval = lines_of(shared_data / "benchmarks" / "humaneval" / "HumanEval.jsonl.gz")
    items = {"gsm8k": gsm8k(shared_data), "humaneval": [record["prompt"] for record in humaneval]}
    texts = [record["text"] for record in lines_of(shared_data / "domains" / "domain_docs.jsonl.gz")]
    grams = {gram for some in items.values() for each in ngrams(some) for gram in each}
    assert made(**items).scan(pa.array(texts)) == [None] * len(texts)
    assert not any(places(text, grams) for text in texts[::40])


def test_a_benchmark_in_chinese_is_found(shared_data: Path) -> None:
    pairs = lines_of(shared_data / "domains" / "multilingual_lines.jsonl.gz")
    texts = [record["text"] for record in pairs if record["language"] == "zh"]
    chinese = [text for text in texts if len(slow_words(text)[0]) >= N and not re.search("[A-Za-z0-9]", text)]
    assert len(chinese) > 50
    items, others = chinese[::2], chinese[1::2]
    bloom = made(zh=items)
    spaced = [item.replace(" ", "").replace("，", "\n") for item in items]
    assert all(bloom.scan(pa.array(spaced)))
    grams = {gram for some in ngrams(items) for gram in some}
    for text, quotes in zip(others, bloom.scan(pa.array(others)), strict=True):
        assert (quotes is not None) == bool(places(text, grams))


class Two:
    fingerprint = "f"

    def items(self):
        yield "b", " ".join(WORDS)


def test_the_function_answers_every_text() -> None:
    texts = ["nothing", f"x {' '.join(WORDS)}", ""]
    batch = pa.RecordBatch.from_arrays([pa.array(["k0", "k1", "k2"]), pa.array(texts)], schema=INPUT_SCHEMA)
    bound = contamination.Contamination(Two()).bind(())
    (answers,) = bound.answers(iter([batch]))
    rows = answers.to_pylist()
    assert [row["benchmark"] for row in rows] == [None, "b", None]
    assert [row["n_grams"] for row in rows] == [0, 3, 0]
    assert rows[1]["position"] == 3 and rows[1]["passages"][0]["words"] == WORDS
    (answers,) = contamination.Contamination(None).bind(()).answers(iter([batch]))
    assert [row["benchmark"] for row in answers.to_pylist()] == [None] * 3
    (answers,) = contamination.ItemNgrams().bind(()).answers(iter([batch]))
    assert [len(row["ngrams"]) for row in answers.to_pylist()] == [0, 4, 0]
    assert contamination.Contamination(None).bind(()).fingerprint != bound.fingerprint
    with pytest.raises(UsageError, match="nothing else"):
        contamination.Contamination(None).bind(("x",))
