"""The macro that counts an item's words counts those that decontamination compares."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sql.plain_jinja import render
from udfs.text.decontamination_normalization import pieces, words


def counted(text: str) -> tuple[int, int]:
    """Count by the macro, and by the normalisation itself."""
    query = render(["benchmarks.sql"], "select {{ normalized_words('$1') }}")
    (row,) = duckdb.execute(query, [text]).fetchall()
    ((_, content, bounds),) = pieces(pa.array([text], pa.large_string()), 1 << 20)
    return int(row[0]), len(words(content, bounds))


@pytest.mark.parametrize(
    "text",
    [
        "Janet's ducks lay 16 eggs; she eats three.",
        "漢字の本、カタカナ、abc漢字def",
        "ภาษาไทยไม่มีช่องว่าง และ English",
        "Café naïve ÅNGSTRÖM e\u0301",
        "soft\u00adhyphen zero\u200bwidth",
        "한국어 단어 둘",
        "३४ टेस्ट",
        "",
    ],
)
def test_words_are_counted_as_they_are_compared(text: str) -> None:
    assert counted(text)[0] == counted(text)[1]


@given(st.text(alphabet=st.sampled_from("abc12 .,-'\né漢のかไ한\u0301\u00ad")))
def test_any_mixture_is_counted_as_it_is_compared(text: str) -> None:
    macro, compared = counted(text)
    assert macro == compared
