"""Numbers as people write them."""

from __future__ import annotations

import pytest

from udfs.amounts import parse_bytes, parse_count, parse_share


def test_units_are_read() -> None:
    assert [parse_count(text) for text in ("600_000", "6e5", "600k", " 0.6M ")] == [600_000] * 4
    assert (parse_count("1.7T"), parse_count("12345678901234567890")) == (1_700_000_000_000, 12345678901234567890)
    assert (parse_bytes("30MB"), parse_bytes("64mb", binary=True), parse_bytes("100")) == (30e6, 64 << 20, 100)
    assert (parse_share("10%"), parse_share("12.5%", of=800)) == (0.1, 100)


@pytest.mark.parametrize("text", ["", "k", "0.5", "1.5kk", "nan", "inf", "1e999", "2 weeks", "10%"])
def test_what_is_not_a_count_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=""):
        parse_count(text)
