"""The words of whole columns are those of the direct definition, letter by letter, and so are their places."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.udfs.helpers import slow_words
from udfs.text.decontamination_normalization import pieces, spell, words

#: Characters in which the ways through the code differ, and any other ones.
ODD = "aB1 .,'é’漢字かｱＡﬁßİ①½\u0301\u200b\u00ad한ﷺไทยำ😀\x00\n\u1100\u1161\U0001d400٣ǅ𝟘\u2028"
TEXTS = st.lists(st.text(st.one_of(st.sampled_from(ODD), st.characters(codec="utf-8"))), max_size=6)


@given(TEXTS, st.sampled_from([1, 20, 1000]), st.sampled_from([pa.string(), pa.large_string()]), st.integers(0, 2))
def test_words_are_those_of_the_definition(texts: list[str], size: int, kind: pa.DataType, skip: int) -> None:
    column = pa.array(texts, kind)[skip:]
    seen = []
    for begin, content, bounds in pieces(column, size):
        assert begin == len(seen)
        found = words(content, bounds)
        origins = found.origins()
        for number, (first, last) in enumerate(zip(found.first[:-1], found.first[1:], strict=True)):
            own = content[bounds[number] : bounds[number + 1]]
            positions = np.cumsum((own & 0xC0) != 0x80)[origins[first:last] - bounds[number]]
            seen.append((found.texts(first, last), positions.tolist()))
    assert seen == [slow_words(text) for text in texts[skip:]]


def test_what_is_spelled_is_spelled_the_same_again() -> None:
    for code in range(0x110000):
        if not 0xD800 <= code < 0xE000:
            once = spell(chr(code))
            assert "".join(map(spell, once)).split() == once.split(), hex(code)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don’t PANIC—it's\u00a0fine.", "don t panic it s fine"),
        ("Ｆｕｌｌ　ｗｉｄｔｈ ﬁne", "full width fine"),
        ("Stra\u00dfe STRASSE cafe\u0301 caf\u00e9", "strasse strasse cafe cafe"),
        ("so\u00adft zero\u200bwidth\ufeff", "soft zerowidth"),
        ("小明有5個苹果ABC", "小 明 有 5 個 苹 果 abc"),
        ("ไทย", "ไ ท ย"),
        ("한국어 한국어", "한국어 한국어"),
        ("١٢٣ १२ ½ x²", "123 12 1 2 x2"),
        ("<b>bold</b>\tsnake_case 1,000.50", "b bold b snake case 1 000 50"),
    ],
)
def test_spelling(text: str, expected: str) -> None:
    """Hangul is spelled in letters, so the expectation is spelled, too."""
    (found,) = (each for _, content, bounds in pieces(pa.array([text]), 100) for each in [words(content, bounds)])
    assert found.texts(0, len(found)) == "".join(map(spell, expected)).split()


def test_null_and_nothing() -> None:
    column = pa.array([None, "", "a b", None])
    ((_, content, bounds),) = pieces(column, 100)
    assert words(content, bounds).first.tolist() == [0, 0, 0, 2, 2]
    assert list(pieces(pa.array([], pa.string()), 100)) == []
