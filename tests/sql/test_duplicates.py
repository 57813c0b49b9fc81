"""Bands, components and what is dropped, rendered by plain Jinja (what dbt renders too)."""

from __future__ import annotations

import itertools
import random

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sql import plain_jinja


def render(call: str) -> str:
    return plain_jinja.render(["duplicates.sql"], call)


def components(pairs: list[tuple[str, str]]) -> dict[str, str]:
    connection = duckdb.connect()
    columns = {"a": [pair[0] for pair in pairs], "b": [pair[1] for pair in pairs]}
    connection.register("pairs", pa.table(columns, pa.schema([("a", pa.string()), ("b", pa.string())])))
    found = connection.execute(render("{{ connected_components('pairs', 'a', 'b') }}")).fetchall()
    assert len(found) == len(dict(found))
    return dict(found)


def by_union(pairs: list[tuple[str, str]]) -> dict[str, str]:
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return {node: root(node) for node in parent}


@given(st.lists(st.tuples(st.sampled_from("abcdefghijkl"), st.sampled_from("abcdefghijkl")), max_size=25))
@settings(max_examples=60)
def test_components_are_those_of_union_and_find(pairs: list[tuple[str, str]]) -> None:
    assert components(pairs) == by_union(pairs)


def test_a_long_chain_a_star_and_a_clique_are_one_component_each() -> None:
    numbers = list(range(20_000))
    random.Random(1).shuffle(numbers)  # so that the smallest node has to travel
    chain = [(f"chain{a:05}", f"chain{b:05}") for a, b in itertools.pairwise(numbers)]
    star = [(f"star{n:06}", "star500000") for n in range(50_000)]
    clique = [(f"clique{a:03}", f"clique{b:03}") for a in range(150) for b in range(a)]
    found = components(chain + star + clique)
    assert len(found) == 20_000 + 50_001 + 150
    assert {name: sum(root == name for root in found.values()) for name in {*found.values()}} == {
        "chain00000": 20_000,
        "star000000": 50_001,
        "clique000": 150,
    }


def test_no_pairs_no_components() -> None:
    assert components([]) == {}


def bands(signature: list[int] | None, number: int, rows: int) -> list[int] | None:
    table = pa.table({"signature": pa.array([signature], pa.list_(pa.uint32()))})
    connection = duckdb.connect()
    connection.register("signed", table)
    call = f"select {{{{ minhash_bands('signature', {number}, {rows}) }}}} from signed"
    row = connection.execute(render(call)).fetchone()
    assert row is not None
    return row[0]


@given(st.lists(st.integers(0, 2**32 - 1), min_size=12, max_size=12), st.integers(0, 11), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_a_band_is_the_same_where_all_its_rows_are(signature: list[int], place: int, value: int) -> None:
    found = bands(signature, 4, 3)
    changed = [value if at == place else each for at, each in enumerate(signature)]
    other = bands(changed, 4, 3)
    assert found is not None and other is not None
    same = [one == two for one, two in zip(found, other, strict=True)]
    assert same == [band != place // 3 or changed == signature for band in range(4)]


def test_bands_of_any_shape_have_room_for_the_largest_numbers() -> None:
    highest = 2**32 - 1
    for number, rows in ((1, 1), (126, 1), (14, 9), (2, 63), (1, 128)):
        found = bands([highest] * (number * rows), number, rows)
        assert found is not None and len(found) == number and max(found) < 2**64
    assert bands(None, 14, 9) is None
    assert len(set(bands([5] * 126, 14, 9) or ())) == 14, "equal numbers in other places are other bands"


def test_signatures_that_are_too_short_are_an_error() -> None:
    with pytest.raises(duckdb.Error, match="14 bands of 9 rows need signatures of 126 numbers"):
        bands([1] * 125, 14, 9)


def dropped(pairs: list[tuple[str, str]]) -> dict[str, str]:
    connection = duckdb.connect()
    columns = {"doc_id": [pair[0] for pair in pairs], "near_doc_id": [pair[1] for pair in pairs]}
    schema = pa.schema([("doc_id", pa.string()), ("near_doc_id", pa.string())])
    connection.register("pairs", pa.table(columns, schema))
    found = connection.execute(render("{{ dropped_duplicates('pairs') }}")).fetchall()
    assert len(found) == len(dict(found))
    return dict(found)


@given(st.sets(st.tuples(st.integers(0, 14), st.integers(0, 14)).filter(lambda pair: pair[0] > pair[1]), max_size=40))
@settings(max_examples=80)
def test_what_is_dropped_is_what_one_after_the_other_drops(numbers: set[tuple[int, int]]) -> None:
    """Smaller numbers rank first."""
    pairs = sorted(numbers)
    kept: set[int] = set()
    for each in range(15):
        if not any((each, other) in numbers for other in kept):
            kept.add(each)
    found = dropped([(f"{a:02}", f"{b:02}") for a, b in pairs])
    assert {int(name) for name in found} == set(range(15)) - kept
    assert all(int(of) in kept and (int(name), int(of)) in numbers for name, of in found.items())


def test_a_hundred_thousand_copies_of_one_are_dropped_at_once() -> None:
    found = dropped([(f"copy{n:06}", f"first{of}") for n in range(100_000) for of in range(1 + n % 2)])
    assert len(found) == 100_000


def test_signatures_agree_as_far_as_their_numbers_do() -> None:
    call = "select {{ signature_similarity('[1, 2, 3, 4]', '[1, 9, 3, 8]') }}"
    assert duckdb.connect().execute(render(call)).fetchone() == (0.5,)
