"""Which parts of a long document are read, and running ahead of the reader."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.labels.sampling import LIMIT, Excerpt, sample
from udfs.prefetch import prefetch


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


@given(st.integers(0, 40), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.text())
def test_any_lengths_give_parts_in_order_and_within_the_limit(
    length: int, head: int, window: int, tail: int, key: str
) -> None:
    rule = Excerpt(head + window + tail, head, window, tail)
    text = "".join(chr(0x100 + index) for index in range(length))
    parts = rule.parts(text, key)
    if length <= rule.limit:
        assert parts == (text,)
    else:
        assert [len(part) for part in parts] == [head, window, tail]
        assert list("".join(parts)) == sorted("".join(parts))
        assert (parts[0], parts[2]) == (text[:head], text[length - tail :])


def test_a_long_document_is_read_in_three_marked_parts() -> None:
    text = "a" * 10_000 + "b" * 10_001 + "c" * 10_000
    assert Excerpt().read(text[:LIMIT], "key") == text[:LIMIT]
    pieces = Excerpt().read(text, "key").split("\n")
    assert pieces[::2] == ["[beginning]", "[middle]", "[end]"]
    assert pieces[1::2] == ["a" * 10_000, "b" * 10_000, "c" * 10_000]
    assert len(Excerpt().read("x" * 10_000_000, "key")) == LIMIT + len("[beginning]\n\n[middle]\n\n[end]\n")


def test_a_part_of_no_length_is_left_out() -> None:
    assert Excerpt(4, 4, 0, 0, ("HEAD", "-", "-")).read("abcdef", "key") == "HEAD\nabcd"


def test_ahead_gives_everything_in_order() -> None:
    assert list(prefetch(iter(range(100)), 3)) == list(range(100))


def test_ahead_is_bounded_and_stops_when_closed() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    running = prefetch(items(), 2)
    assert next(running) == 0
    running.close()
    assert len(taken) <= 5
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_ahead_passes_errors_on_in_their_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    running = prefetch(items(), 2)
    assert next(running) == 1
    with pytest.raises(ValueError, match="broken"):
        next(running)
