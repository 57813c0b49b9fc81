"""Pairs and components, rendered by plain Jinja (what dbt renders too)."""

from __future__ import annotations

import itertools
import random

import duckdb
import jinja2
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import SQL

MACROS = (SQL / "macros" / "duplicates.sql").read_text()


def render(call: str) -> str:
    return jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(MACROS + call).render()


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


def pairs(signatures: dict[str, list[int] | None], bands: int, rows: int) -> list[tuple[str, str]]:
    connection = duckdb.connect()
    table = pa.table({"doc_id": [*signatures], "signature": pa.array([*signatures.values()], pa.list_(pa.uint32()))})
    connection.register("signed", table)
    call = f"{{{{ minhash_pairs('signed', bands={bands}, rows={rows}) }}}}"
    return connection.execute(render(call) + " order by all").fetchall()


def test_documents_that_agree_in_a_band_are_paired_with_the_first() -> None:
    signed: dict[str, list[int] | None] = {
        "a": [1, 2, 3, 4],
        "b": [1, 2, 9, 9],  # the first band of a
        "c": [7, 7, 9, 9],  # the second band of b
        "d": [3, 4, 1, 2],  # the numbers of a, but in other bands
        "e": [1, 2, 9, 9],
        "f": [2, 1, 4, 3],
        "g": None,
        "h": None,
    }
    assert pairs(signed, bands=2, rows=2) == [("b", "a"), ("c", "b"), ("e", "a"), ("e", "b")]
    assert pairs(signed, bands=1, rows=4) == [("e", "b")]
    assert pairs({}, bands=2, rows=2) == []


def test_signatures_that_are_too_short_are_an_error() -> None:
    with pytest.raises(duckdb.Error, match="14 bands of 9 rows need signatures of 126 numbers"):
        pairs({"a": [1] * 125}, bands=14, rows=9)
