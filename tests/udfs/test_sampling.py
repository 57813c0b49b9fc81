"""Which parts of a long document are read, and running ahead of the reader."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.ahead import ahead
from udfs.sampling import sample


@given(st.text(min_size=0, max_size=200), st.text(), st.integers(3, 60))
def test_parts_never_overlap_and_never_exceed_the_limit(text: str, key: str, limit: int) -> None:
    parts = sample(text, key, limit)
    if len(text) <= limit:
        assert parts == (text,)
        return
    head, window, tail = parts
    third = limit // 3
    assert [len(part) for part in parts] == [third] * 3
    assert text.startswith(head)
    assert text.endswith(tail)
    assert window in text[third : len(text) - third]


def test_the_window_is_the_documents_own_and_moves_over_the_whole_middle() -> None:
    text = "".join(chr(0x100 + index) for index in range(100))
    assert sample(text, "a", 30) == sample(text, "a", 30)
    starts = {text.index(sample(text, f"key {index}", 30)[1]) for index in range(2000)}
    assert starts == set(range(10, 81))


def test_ahead_gives_everything_in_order() -> None:
    assert list(ahead(iter(range(100)), 3)) == list(range(100))


def test_ahead_is_bounded_and_stops_when_closed() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    running = ahead(items(), 2)
    assert next(running) == 0
    running.close()
    assert len(taken) <= 5
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_ahead_passes_errors_on_in_their_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    running = ahead(items(), 2)
    assert next(running) == 1
    with pytest.raises(ValueError, match="broken"):
        next(running)
