"""The mixture macro does what its arithmetic says, whatever the pool, the shares, the order of rows and the threads."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import duckdb
import jinja2
import pyarrow as pa
import pytest
import sqlglot
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.helpers import FIXTURES
from tests.sql.mixture_definition import NAMES, Asked, ShortError, reference, render


def connect(pool: list[tuple[str, str, int | None]], threads: int = 1) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": threads})
    table = pa.table(
        {
            "doc_id": pa.array([row[0] for row in pool], pa.string()),
            "component": pa.array([row[1] for row in pool], pa.string()),
            "n_tokens": pa.array([row[2] for row in pool], pa.int64()),
        }
    )
    connection.register("pool", table)
    return connection


# Cases written as SQL


def cases() -> Iterator[Any]:
    text = (FIXTURES / "mixture" / "mixture.sql").read_text()
    for block in text.split("\n\n")[1:]:
        title, _, body = block.strip().partition("\n")
        pool, call, expected = re.split(r";\n", body)
        yield pytest.param(pool, call, expected.rstrip(";"), id=title.removeprefix("-- ").partition(":")[0][:70])


@pytest.mark.parametrize(("pool", "call", "expected"), cases())
def test_cases(pool: str, call: str, expected: str) -> None:
    connection = duckdb.connect()
    connection.execute(f"create table pool as {pool}")
    if expected.startswith("-- error:"):
        with pytest.raises((duckdb.Error, jinja2.TemplateRuntimeError)) as caught:
            connection.execute(render(call)).fetchall()
        assert expected.removeprefix("-- error:").strip() in str(caught.value)
    else:
        assert sorted(connection.execute(render(call)).fetchall()) == sorted(connection.execute(expected).fetchall())


# Against a second implementation, in fractions


@st.composite
def pools(draw: st.DrawFn) -> list[tuple[str, str, int]]:
    sizes = draw(st.sampled_from([st.integers(0, 5), st.integers(1, 1000), st.just(7), st.integers(0, 10**9)]))
    count = draw(st.integers(1, 40))
    return [(f"d{number}", draw(st.sampled_from(NAMES)), draw(sizes)) for number in range(count)]


@st.composite
def requests(draw: st.DrawFn, pool: list[tuple[str, str, int]]) -> Asked:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    share = st.one_of(
        st.integers(0, 100).map(Fraction),
        st.sampled_from(["0.1", "0.3333", "34.35", "1e-3", "0.000000001"]).map(Fraction),
    )
    shares = {name: draw(share) for name in names}
    assume(any(shares.values()))
    epochs = st.sampled_from(["1", "2", "4", "1.5", "0.25", "7.000001"]).map(Fraction)
    whole = sum(row[2] for row in pool if row[1] in names)
    return Asked(
        shares=shares,
        tokens=draw(st.one_of(st.integers(1, max(1, 2 * whole)), st.sampled_from([max(1, whole), 3 * whole + 1]))),
        seed=draw(st.integers(0, 99)),
        max_epochs={name: draw(epochs) for name in names},
        shortfall=draw(st.sampled_from(["fail", "spill"])),
    )


@settings(max_examples=150 if os.environ.get("CUVEE_PROVE") else 50)
@given(data=st.data())
def test_equals_the_definition_over_random_pools(data: st.DataObject) -> None:
    pool = data.draw(pools())
    asked = data.draw(requests(pool))
    connection = connect(pool)
    try:
        expected = reference(pool, asked)
    except ShortError:
        with pytest.raises(duckdb.Error, match="too few tokens"):
            connection.execute(asked.sql()).fetchall()
    else:
        assert sorted(connection.execute(asked.sql()).fetchall()) == expected


@pytest.fixture(scope="module")
def large_pool() -> list[tuple[str, str, int]]:
    chance = random.Random(3)
    return [
        (hashlib.md5(f"{n}".encode()).hexdigest(), chance.choice(NAMES), chance.randint(1, 5000)) for n in range(30_000)
    ]


ASKED = Asked(
    shares={"code": Fraction("34.35"), "web": Fraction("36.7"), "prose": Fraction("7.17"), "maths": Fraction("21.78")},
    tokens=60_000_000,
    seed=17,
    max_epochs=dict.fromkeys(NAMES, Fraction(4)),
    shortfall="fail",
)


@settings(max_examples=12, deadline=None)
@given(tokens=st.integers(1, 600_000_000), seed=st.integers(0, 99), shortfall=st.sampled_from(["fail", "spill"]))
def test_equals_the_definition_wherever_the_cut_lies(
    large_pool: list[tuple[str, str, int]], tokens: int, seed: int, shortfall: str
) -> None:
    """With several documents in each of the parts that the macro cuts the order into, and some without tokens."""
    pool = [(document, name, 0 if size % 9 == 0 else size) for document, name, size in large_pool]
    asked = Asked(ASKED.shares, tokens, seed, dict.fromkeys(NAMES, Fraction(6)), shortfall)
    try:
        expected = reference(pool, asked)
    except ShortError:
        with pytest.raises(duckdb.Error, match="too few tokens"):
            connect(pool).execute(asked.sql()).fetchall()
    else:
        assert sorted(connect(pool).execute(asked.sql()).fetchall()) == expected


def test_row_order_and_threads_change_nothing(large_pool: list[tuple[str, str, int]]) -> None:
    expected = reference(large_pool, ASKED)
    shuffled = random.Random(1).sample(large_pool, len(large_pool))
    for pool, threads in [(large_pool, 1), (shuffled, 2), (sorted(large_pool, key=lambda row: row[2]), 4)]:
        assert sorted(connect(pool, threads).execute(ASKED.sql()).fetchall()) == expected


def test_shares_come_out_within_one_document(large_pool: list[tuple[str, str, int]]) -> None:
    rows = connect(large_pool).execute(ASKED.sql()).fetchall()
    longest = max(row[2] for row in large_pool)
    for name, share in ASKED.shares.items():
        got = sum(row[2] * row[3] for row in rows if row[1] == name)
        assert abs(got - ASKED.tokens * share / sum(ASKED.shares.values())) <= Fraction(longest, 2)


def test_smaller_mixtures_are_nested_in_larger_ones(large_pool: list[tuple[str, str, int]]) -> None:
    copies: list[dict[tuple[str, str], int]] = []
    for tokens in (2_000_000, 4_000_000, 8_000_000, 100_000_000):
        asked = Asked(ASKED.shares, tokens, 17, ASKED.max_epochs, "fail")
        copies.append({row[:2]: row[2] for row in connect(large_pool).execute(asked.sql()).fetchall()})
    for smaller, larger in itertools.pairwise(copies):
        assert all(count <= larger.get(document, 0) for document, count in smaller.items())
    other = Asked(ASKED.shares, 2_000_000, 18, ASKED.max_epochs, "fail")
    assert {row[:2] for row in connect(large_pool).execute(other.sql()).fetchall()} != set(copies[0])


def test_survives_a_rewrite_by_sqlglot(large_pool: list[tuple[str, str, int]]) -> None:
    """The builder parses models and may print them anew."""
    printed = sqlglot.parse_one(ASKED.sql(), dialect="duckdb").sql(dialect="duckdb")
    connection = connect(large_pool)
    assert sorted(connection.execute(printed).fetchall()) == sorted(connection.execute(ASKED.sql()).fetchall())


def test_tokens_may_be_an_expression() -> None:
    connection = connect([("a", "code", 10), ("b", "code", 10)])
    query = render("{{ mixture('pool', shares={'code': 1}, tokens='(select sum(n_tokens) * 0.5 from pool)') }}")
    assert len(connection.execute(query).fetchall()) == 1


def test_amounts_of_published_runs_do_not_overflow() -> None:
    """15 trillion tokens of components with billions of tokens in a document-sized row."""
    pool = [(f"d{number}", NAMES[number % 4], 10**12) for number in range(16)]
    asked = Asked(ASKED.shares, 15 * 10**12, 17, ASKED.max_epochs, "spill")
    assert sorted(connect(pool).execute(asked.sql()).fetchall()) == reference(pool, asked)


def test_report_compares_asked_and_got() -> None:
    connection = connect([("a", "code", 5), ("b", "web", 10), ("c", "web", 10), ("d", "prose", 20)])
    arguments = (
        "pool='pool', shares={'code': 0.7, 'web': 0.2, 'prose': 0.1, 'law': 0.0}, tokens=70,"
        " max_epochs={'code': 2, 'web': 3, 'prose': 1}, shortfall='spill'"
    )
    connection.execute("create table blend as " + render(f"{{{{ mixture({arguments}) }}}}"))
    report = connection.execute(render(f"{{{{ mixture_report(mixture='blend', {arguments}) }}}}"))
    names = [column[0] for column in report.description or []]
    found = {row[0]: dict(zip(names, row, strict=True)) for row in report.fetchall()}
    code = found["code"]
    assert (code["tokens_asked"], code["tokens_available"], code["tokens_got"]) == (49, 5, 10)
    assert (code["shortfall"], code["cause"], code["epochs"]) == (39, "max_epochs 2", 2.0)
    assert (code["documents_available"], code["documents"], code["copies"]) == (1, 1, 2)
    web = found["web"]
    assert (web["tokens_asked"], web["tokens_got"], web["shortfall"], web["cause"]) == (14, 40, 0, None)
    assert sum(row["share_got"] for row in found.values()) == pytest.approx(1)
    assert sum(row["share_asked"] for row in found.values()) == pytest.approx(1)
    assert (found["law"]["copies"], found["law"]["shortfall"]) == (0, 0)


# Held-out documents


def test_held_out_is_by_key_nested_and_of_the_share_asked() -> None:
    connection = duckdb.connect()
    connection.execute("create table docs as select i as doc, 'package ' || (i // 4) as package from range(40000) t(i)")

    def held(share: float, seed: int = 17) -> set[str]:
        condition = render(f"{{{{ held_out('package', share={share}, seed={seed}) }}}}")
        rows = connection.execute(f"select package, count(*) from docs where {condition} group by package").fetchall()
        assert {count for _, count in rows} <= {4}, "documents of a package are together"
        return {package for package, _ in rows}

    small, large = held(0.05), held(0.2)
    assert small < large
    assert len(small) == pytest.approx(500, rel=0.15)
    assert len(large) == pytest.approx(2000, rel=0.1)
    assert held(0.05, seed=18) != small
    assert len(held(1)) == 10_000
    assert held(0) == set()
    expected = {
        f"package {number}"
        for number in range(10_000)
        if int(hashlib.md5(f"17:package {number}".encode()).hexdigest()[:15], 16) < 0.05 * 2**60
    }
    assert small == expected


def test_a_null_key_is_never_held_out() -> None:
    for share in (0, 0.5, 1):
        condition = render(f"{{{{ held_out('key', share={share}, seed=1) }}}}")
        row = duckdb.connect().execute(f"select {condition} from (select null::varchar as key)").fetchone()
        assert row == (False,)


def test_held_out_documents_take_their_near_duplicates_along() -> None:
    """Shares by component; a cluster over components whose shares differ is not trained on where it is held out."""
    connection = duckdb.connect()
    connection.execute(
        "create table pool as select n, 'd' || n as doc_id, if(n % 2 = 0, 'code', 'prose') as component, 1 as n_tokens"
        " from range(40000) t(n)"
    )
    connection.execute(
        "create table clusters as select doc_id, 'cluster ' || (n // 3) as cluster_id from pool where n < 30000"
    )
    call = "{{ with_split('pool', share=%s, clusters='clusters') }}"

    def by_split(share: str) -> dict[str, set[int]]:
        query = render(call % share)
        rows = connection.execute(f"select split, list(n) from ({query}) group by split").fetchall()
        found = {split: set(numbers) for split, numbers in rows}
        assert sum(map(len, found.values())) == 40_000
        cluster = {split: {f"c{n // 3}" if n < 30000 else f"d{n}" for n in found[split]} for split in found}
        assert not cluster["train"] & cluster["held_out"]
        return found

    whole = by_split("0.1")
    assert whole.keys() == {"train", "held_out"}
    assert len(whole["held_out"]) == pytest.approx(4000, rel=0.1)
    found = by_split("{'code': 0.1, 'prose': 0.02}")
    assert {n for n in whole["held_out"] if n % 2 == 0} == {n for n in found["held_out"] if n % 2 == 0}
    assert len({n for n in found["held_out"] if n % 2}) == pytest.approx(400, rel=0.25)
    assert found["neither"] == {n for n in whole["held_out"] - found["held_out"] if n < 30000}
    assert by_split("{'code': 0.1}")["neither"] == {n for n in whole["held_out"] if n % 2 and n < 30000}
    by_key = render("{{ with_split('pool', share=0.1, key='n // 100') }}")
    rows = connection.execute(f"select n // 100 from ({by_key}) group by all having count(distinct split) > 1")
    assert rows.fetchall() == []
