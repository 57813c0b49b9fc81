"""The signals are those of RedPajama-V2's definitions, written out here the slow way."""

from __future__ import annotations

import math
import re
import string
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.helpers import ROOT
from udfs.text.quality_signals import NAMES, quality_signals

LISTS = ROOT / "udfs" / "text" / "word_lists"


def entries(name: str) -> list[str]:
    return [line for line in (LISTS / name).read_text().splitlines() if line and not line.startswith("#")]


STOP_WORDS = {word for line in entries("stop_words_en.txt") for word in line.split()}
BAD_WORDS = set(entries("ldnoobw_en.txt"))
LENGTHS = {entry.count(" ") + 1 for entry in BAD_WORDS}


def directly(text: str) -> dict[str, float | None]:
    """Every signal, one word after the other."""
    plain = text.translate(str.maketrans("", "", string.punctuation)).lower().strip()
    plain = unicodedata.normalize("NFD", re.sub(r"\s+", " ", plain))
    words, tokens = plain.split(), re.findall(r"\w+|[^\w\s]+", text)
    lines = re.findall(r"[^\n]*\n|[^\n]+$", text)
    counts = Counter(words)
    characters = sum(map(len, words))
    found: dict[str, float | None] = {
        "word_count": len(words),
        "mean_word_length": characters / len(words) if words else None,
        "num_sentences": len(re.findall(r"\b[^.!?]+[.!?]*", text)),
        "frac_unique_words": len(counts) / len(words) if words else None,
        "unigram_entropy": sum(-c / len(words) * math.log(c / len(words)) for c in counts.values()) if words else None,
        "stop_word_fraction": sum(token in STOP_WORDS for token in tokens) / len(tokens) if words else 0.0,
        "frac_all_caps_words": sum(map(str.isupper, tokens)) / len(tokens) if tokens else None,
        "frac_no_alph_words": sum(not re.search("[a-zA-Z]", each) for each in tokens) / len(tokens) if tokens else None,
        "symbol_to_word_ratio": sum(map(text.count, ("#", "...", "…"))) / len(tokens) if tokens else None,
        "frac_lines_end_with_ellipsis": (
            sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines) if lines else None
        ),
        "curly_bracket": sum(map(text.count, "{}")) / len(text) if text else 0.0,
        "lorem_ipsum": plain.count("lorem ipsum") / len(plain) if plain else 0.0,
        "ldnoobw_words": sum(
            " ".join(words[i : i + n]) in BAD_WORDS for n in LENGTHS for i in range(len(words) - n + 1)
        ),
    }
    for n in range(2, 11):
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        repeated = Counter(grams)
        if n < 5:
            gram, count = repeated.most_common(1)[0] if repeated else ((), 0)
            found[f"frac_chars_top_{n}gram"] = len("".join(gram)) * count / characters if count > 1 else 0.0
        else:
            covered = {i + k for i, gram in enumerate(grams) if repeated[gram] > 1 for k in range(n)}
            inside = sum(len(words[i]) for i in covered)
            found[f"frac_chars_dupe_{n}grams"] = inside / characters if characters else 0.0
    return {f"rps_doc_{name}": value for name, value in found.items()}


def same(texts: list[str]) -> None:
    rows = quality_signals(pa.array(texts, pa.string())).to_pylist()
    assert len(rows) == len(texts)
    for text, row in zip(texts, rows, strict=True):
        expected = directly(text)
        assert tuple(row) == NAMES and expected.keys() == row.keys()
        for name in NAMES:
            assert row[name] == pytest.approx(expected[name], abs=2e-8), (name, text[:500])


#: Few words, so that n-grams are repeated; with what is hard about characters.
_PIECES = st.sampled_from(
    [
        *(
            "a",
            "b",
            "the",
            "The",
            "THE",
            "don't",
            "a-b",
            "...",
            "....",
            ". . .",
            "…",
            "#",
            "{",
            "}",
            "!",
            "?",
            "_",
            "12",
        ),
        *(
            " ",
            "  ",
            "\n",
            "\n\n",
            "\r\n",
            "\t",
            "\x0b",
            "\x1c",
            "\x85",
            "\xa0",
            "\u2003",
            "\u3000",
            "\u1680",
            "\u200b",
        ),
        *("é", "É", "e\u0301", "ΟΔΟΣ", "ς", "İ", "\u212a", "ǅ", "Ⓐ", "ª", "中文", "日本語。", "🤷🏽\u200d♀️", "\u0300"),
        *("\x00", "\u1fef", "\u037e", "lorem", "Lorem", "ipsum", "lo-rem ip.sum", "lorem ipsum", "bloody ass"),
        *("tied up", "Tied  up!", "antidisestablish", "a b c d e f g h i j ", "one two three four five ", "x" * 70),
    ]
)
_TEXTS = st.lists(_PIECES, max_size=60).map("".join) | st.text(max_size=80)


@given(st.lists(_TEXTS, max_size=5))
@example([])
@example(["", "", "a", ""])
@example(["...", "\n", "…", "a ...\n b… \n\n", "a....b...\n...x", "... \x85\n..."])
@example(["a b a b", "b a b a"])
def test_the_signals_are_those_of_the_definitions(texts: list[str]) -> None:
    same(texts)


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=60).map(" ".join), max_size=4))
def test_much_repeated_words(texts: list[str]) -> None:
    same(texts)


def test_the_signals_of_naughty_strings(hostile: list[str]) -> None:
    short = [text for text in hostile if len(text) < 20_000]
    same(short)
    for start in range(0, len(short), 7):  # a text has the same signals whatever stands beside it
        same(short[start : start + 1])


def test_the_signals_of_real_documents(shared_data: Path) -> None:
    import gzip
    import json

    for name in ("web/extracted_docs.jsonl.gz", "domains/multilingual_lines.jsonl.gz"):
        with gzip.open(shared_data / name, "rt", encoding="utf-8") as file:
            texts = [json.loads(line)["text"] for line in file]
        same(texts[::7])


def signal(text: str, name: str) -> Any:
    return quality_signals(pa.array([text]))[f"rps_doc_{name}"][0].as_py()


def test_some_texts_that_can_be_counted_by_hand() -> None:
    assert signal("The cat, the CAT, the dog.", "word_count") == 6
    assert signal("The cat, the CAT, the dog.", "frac_unique_words") == 0.5
    assert signal("The cat, the CAT, the dog.", "frac_chars_top_2gram") == pytest.approx(12 / 18)
    assert signal("Mr. A. left... Did he? Yes!", "num_sentences") == 5
    assert signal("NASA sent 2 PROBES", "frac_all_caps_words") == 0.5
    assert signal("1, 2 and 3", "frac_no_alph_words") == 0.8
    assert signal("and so it is", "stop_word_fraction") == 1.0
    assert signal(
        "one two three four five. One, two, three, four, five! six", "frac_chars_dupe_5grams"
    ) == pytest.approx(38 / 41, abs=1e-8)
    assert signal("", "mean_word_length") is None
    assert signal("\n\n", "frac_lines_end_with_ellipsis") == 0


def test_giant_texts_are_done_in_time() -> None:
    giant = ["a" * 10_000_000, "中" * 3_000_000, "a " * 1_000_000, "." * 5_000_000, "\n" * 5_000_000]
    rows = quality_signals(pa.array(giant)).to_pylist()
    assert [row["rps_doc_word_count"] for row in rows] == [1, 1, 1_000_000, 0, 0]
    assert rows[0]["rps_doc_mean_word_length"] == 10_000_000
    assert rows[2]["rps_doc_frac_chars_dupe_10grams"] == 1
    assert rows[2]["rps_doc_frac_chars_top_2gram"] == pytest.approx(2 * 999_999 / 1_000_000)
    assert rows[3]["rps_doc_symbol_to_word_ratio"] == 5_000_000 // 3
