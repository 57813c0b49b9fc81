"""The agreement macros against the definitions, evaluated label by label, and against published figures."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import FIXTURES
from tests.sql import plain_jinja
from tests.sql.kappa_definition import Row, by_definition, drawn, labels, match

COLUMNS = ("primary_a", "secondary_a", "primary_b", "secondary_b")


def render(call: str, **values: Any) -> str:
    """A macro call as SQL, by plain Jinja: what dbt renders too."""
    return plain_jinja.render(["agreement.sql", "essential_web.sql", "facets.sql"], call, **values)


# Cases written as SQL


def cases() -> Iterator[Any]:
    text = (FIXTURES / "agreement" / "kappa.sql").read_text()
    for block in text.split("\n\n")[1:]:
        title, _, body = block.strip().partition("\n")
        pairs, call, expected = re.split(r";\n", body)
        yield pytest.param(pairs, call, expected.rstrip(";"), id=title.removeprefix("-- ")[:70])


@pytest.mark.parametrize(("pairs", "call", "expected"), cases())
def test_cases(pairs: str, call: str, expected: str) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"create table pairs as {pairs}")
        got = connection.execute(render(call)).fetchall()
        wanted = connection.execute(expected).fetchall()
    assert len(got) == len(wanted)
    for row, other in zip(got, wanted, strict=True):
        for value, expect in zip(row, other, strict=True):
            if isinstance(expect, str) or expect is None:
                assert value == expect
            else:
                assert float(value) == pytest.approx(float(expect), abs=1e-9)


# Against the definition: documents are counted one by one, and chance is the sum over all that may be drawn.


codes = st.sampled_from([None, "-1", "", "1", "2", "3", "5.1", "x"])
rows_of_four = st.lists(st.tuples(codes, codes, codes, codes), min_size=1, max_size=25)


def table(rows: list[Row], part: list[int] | None = None) -> pa.Table:
    columns = {name: pa.array([row[i] for row in rows], pa.string()) for i, name in enumerate(COLUMNS)}
    return pa.table({"part": part or [0] * len(rows), **columns})


def kappas(rows: pa.Table, by: list[str], **options: Any) -> list[tuple[Any, ...]]:
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("pairs", rows)
        call = "{{ annotator_kappa('pairs', by=by, **options) }}"
        return connection.execute(f"select * from ({render(call, by=by, options=options)}) order by all").fetchall()


@given(rows_of_four, rows_of_four, st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=60)
def test_kappa_is_what_the_definition_says(
    rows: list[Row], others: list[Row], weighted: bool, shared: bool, smoothing: bool
) -> None:
    both = table(rows + others, [1] * len(rows) + [2] * len(others))
    got = kappas(both, ["part"], weighted=weighted, shared=shared, smoothing=smoothing)
    assert [row[:2] for row in got] == [(1, len(rows)), (2, len(others))]
    for row, part in zip(got, (rows, others), strict=True):
        assert row[2:5] == pytest.approx(by_definition(part, weighted, shared, smoothing), abs=1e-9)
        assert row[5] is None


def test_a_label_that_nearly_all_documents_have_costs_no_digits() -> None:
    counted = [("1", None, "1", None, 10_000_000), ("1", "2", "1", "2", 3), ("2", "3", "1", "3", 2)]
    rows = pa.table(
        {
            **{name: pa.array([row[i] for row in counted], pa.string()) for i, name in enumerate(COLUMNS)},
            "n": [row[4] for row in counted],
        }
    )
    (row,) = kappas(rows, [], n="n", smoothing=False)
    # Every second label is 2 or 3: a pair is {1, 2} or {1, 3} but for one chance in 10 million.
    shares = {"1": 10_000_003, "2": 5, "3": 2}, {"1": 10_000_005, "2": 3, "3": 2}
    weights = [{label: count / sum(side.values()) for label, count in side.items()} for side in shares]
    expected = 0.0
    for (i, f), (j, g) in product(*[[(1, 10_000_000 / 10_000_005), (2, 5 / 10_000_005)]] * 2):
        for (a, p), (b, q) in product(drawn(weights[0], i), drawn(weights[1], j)):
            expected += f * g * p * q * bool(a & b)
    assert row[2] == pytest.approx(expected, abs=1e-12)


@given(rows_of_four, st.integers(0, 5))
@settings(max_examples=15)
def test_a_bootstrap_is_the_same_everywhere(rows: list[Row], seed: int) -> None:
    wanted = kappas(table(rows), [], replicates=20, seed=seed)
    assert kappas(table(rows[::-1]), [], replicates=20, seed=seed) == wanted
    assert wanted[0][1:4] == kappas(table(rows), [])[0][1:4]


def test_the_standard_error_is_that_of_drawing_documents() -> None:
    """Two annotators with one of two labels each, unsmoothed: kappa is Cohen's, whose error is known (Fleiss 1969)."""
    cells = {("1", "1"): 430, ("1", "2"): 70, ("2", "1"): 120, ("2", "2"): 380}
    rows: list[Row] = [(a, None, b, None) for (a, b), n in cells.items() for _ in range(n)]
    n = len(rows)
    p = {cell: count / n for cell, count in cells.items()}
    first = {a: sum(p[a, b] for b in "12") for a in "12"}
    second = {b: sum(p[a, b] for a in "12") for b in "12"}
    observed, expected = p["1", "1"] + p["2", "2"], sum(first[c] * second[c] for c in "12")
    kappa = (observed - expected) / (1 - expected)
    spread = sum(p[c, c] * (1 - (first[c] + second[c]) * (1 - kappa)) ** 2 for c in "12")
    spread += (1 - kappa) ** 2 * sum(p[a, b] * (second[a] + first[b]) ** 2 for a, b in cells if a != b)
    spread -= (kappa - expected * (1 - kappa)) ** 2
    known = math.sqrt(spread / n) / (1 - expected)

    def error(**options: Any) -> float:
        return float(kappas(table(rows), [], smoothing=False, replicates=400, **options)[0][4])

    assert error() == pytest.approx(known, rel=0.15)  # 400 bootstraps: 3.5 % is one standard deviation
    assert error(draws=250) == pytest.approx(known, rel=0.15)
    assert error(seed=1) != error()


@pytest.fixture(scope="module")
def reference(shared_data: Path) -> Any:
    return json.loads((shared_data / "annotation" / "kappa_reference.json").read_text())


@pytest.fixture(scope="module")
def rated(shared_data: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """``rated``: item, rater, grade and kinds of abuse, by the rater's first look at the item."""
    file = shared_data / "annotation" / "convabuse" / "ConvAbuseEMNLPfull_half.csv.gz"
    entries = ", ".join(f"""('{name}', "{name}")""" for name in (*GRADES, *KINDS))
    with duckdb.connect() as connection:
        connection.execute(
            f"""
            create table rated as
            select
                struct_pack(a := prev_agent, b := prev_user, c := agent, d := "user") as item, annotator_id as rater,
                arg_min(answers, example_no::int) as answers
            from (
                select *, map_from_entries([{entries}]) as answers
                from read_csv('{file}', all_varchar = true)
            )
            group by all
            """
        )
        yield connection


GRADES = [f"is_abuse.{grade}" for grade in (1, 0, -1, -2, -3)]
KINDS = [
    f"type.{kind}"
    for kind in ("ableism", "homophobic", "intellectual", "racist", "sexist", "sex_harassment", "transphobic")
]


def pairs(label: str) -> str:
    """A subquery with the two labels of an item by every two raters."""
    rows = f"(select item, rater, {label} as label from rated)"
    return (
        "(select a.rater as rater_a, b.rater as rater_b, a.label as primary_a, b.label as primary_b"
        f" from {rows} as a join {rows} as b on b.item = a.item and b.rater > a.rater)"
    )


def test_published_figures_of_single_labels(rated: duckdb.DuckDBPyConnection, reference: Any) -> None:
    """ConvAbuse's grades, every two raters: what scikit-learn and nltk make of them."""
    given = next(each for each in reference["datasets"] if each["kind"] == "single label")
    grade = f"list_filter({GRADES}, lambda name: answers[name] = '1')[1][10:]"
    query = render(
        "{{ single_label_agreement(pairs, ['rater_a', 'rater_b'], position_a=a, position_b=b) }}",
        pairs=pairs(grade),
        a=f"list_position({given['ordinal_labels']}, primary_a)",
        b=f"list_position({given['ordinal_labels']}, primary_b)",
    )
    got = {row[:2]: row[2:] for row in rated.execute(query).fetchall()}
    assert len(got) == len(given["pairs"]) == 28
    names = ("n", "observed", "sklearn_kappa", "sklearn_kappa_linear", "sklearn_kappa_quadratic", "nltk_scott_pi")
    for pair in given["pairs"]:
        wanted = [pair[name] for name in (*names, "nltk_alpha")]
        assert got[pair["rater_a"], pair["rater_b"]] == pytest.approx(wanted, abs=1e-9)


def test_published_figures_of_raters_who_hardly_ever_say_yes(rated: duckdb.DuckDBPyConnection, reference: Any) -> None:
    """ConvAbuse's kinds, one by one: some raters never say that it is there."""
    given = next(each for each in reference["datasets"] if each["kind"] == "label sets")
    silent = 0
    for kind in ("none", *(name[5:] for name in KINDS)):
        there = f"answers['type.{kind}'] = '1'"
        if kind == "none":
            there = f"list_sum(list_transform({KINDS}, lambda name: answers[name]::int)) = 0"
        call = "{{ single_label_agreement(pairs, ['rater_a', 'rater_b']) }}"
        got = {row[:2]: row for row in rated.execute(render(call, pairs=pairs(there))).fetchall()}
        for pair in given["pairs"]:
            row = got[pair["rater_a"], pair["rater_b"]]
            if kind in pair["per_label_sklearn_kappa"]:
                assert row[4] == pytest.approx(pair["per_label_sklearn_kappa"][kind], abs=1e-9)
                silent += row[4] == 0
            elif row[3] == 1:
                assert row[4:] == (1, None, None, 1, 1)
    assert silent > 5


@pytest.mark.parametrize("case", range(4))
def test_published_tables(reference: Any, case: int) -> None:
    table = reference["textbook_2x2"][case]
    rows = ", ".join(f"('{a}', '{b}', {n})" for (a, b), n in zip(product("yn", "yn"), table["table"], strict=True))
    query = render("{{ single_label_agreement('pairs', n='n') }}")
    with duckdb.connect() as connection:
        connection.execute(f"create table pairs as from (values {rows}) as t(primary_a, primary_b, n)")
        found = connection.execute(query).fetchone()
    assert found and found[2] == pytest.approx(table["sklearn_kappa"], abs=1e-9)


@given(rows_of_four, st.booleans())
@settings(max_examples=15)
def test_three_annotators_who_share_their_habits(rows: list[Row], weighted: bool) -> None:
    """The third says what the first said of the document before."""
    ratings = []
    for number, row in enumerate(rows):
        ratings += [(number, "a", *row[:2]), (number, "b", *row[2:])]
        if number % 2:
            ratings.append((number, "c", *rows[number - 1][:2]))
    everyone: dict[int, list[frozenset[str]]] = {}
    for number, _, *pair in ratings:
        everyone.setdefault(number, []).append(labels(*pair))
    matches = [[match(a, b, weighted) for i, a in enumerate(sets) for b in sets[:i]] for sets in everyone.values()]
    observed = sum(sum(each) / len(each) for each in matches) / len(matches)
    flat = [(*row, *row) for row in (tuple(rating[2:]) for rating in ratings)]
    _, expected, _ = by_definition(flat, weighted, shared=True, smoothing=False)
    names = ("doc_id", "annotator", "primary", "secondary")
    columns = {name: [rating[i] for rating in ratings] for i, name in enumerate(names)}
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("ratings", pa.table({**columns, "part": [None] * len(ratings)}))
        query = render("{{ shared_kappa('ratings', by=['part'], weighted=weighted) }}", weighted=weighted)
        got = connection.execute(query).fetchall()
    kappa = (observed - expected) / (1 - expected) if 1 - expected > 1e-12 else observed
    assert got == [(None, len(rows), len(ratings), *(pytest.approx(x, abs=1e-9) for x in (observed, expected, kappa)))]


@given(rows_of_four, st.booleans())
@settings(max_examples=10)
def test_gold_kappa_is_the_mean_of_kappas(rows: list[Row], weighted: bool) -> None:
    """Gold annotator g2 has labelled every second document only."""
    ratings = []
    for number, row in enumerate(rows):
        ratings += [(number, "own", *row[:2]), (number, "g1", *row[2:])]
        if number % 2 == 0:
            ratings.append((number, "g2", *rows[number - 1][:2]))
    names = ("doc_id", "annotator", "primary", "secondary")
    columns = {name: [rating[i] for rating in ratings] for i, name in enumerate(names)}
    with_g2 = [(*row[:2], *rows[number - 1][:2]) for number, row in enumerate(rows) if number % 2 == 0]
    parts = [by_definition(part, weighted, False, True) for part in (rows, with_g2)]
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("ratings", pa.table(columns))
        call = "{{ gold_kappa('ratings', ['g1', 'g2'], weighted=weighted, replicates=20) }}"
        got = {row[0]: row[1:] for row in connection.execute(render(call, weighted=weighted)).fetchall()}
    wanted = [sum(part[i] for part in parts) / 2 for i in range(3)]
    assert got["own"][:2] == (len(rows), 2)
    assert got["own"][2:5] == pytest.approx(wanted, abs=1e-9)
    assert got["own"][5] >= 0
    assert got["g1"][:2] == (len(with_g2), 1)


def test_the_queries_parse() -> None:
    for options in ({}, {"replicates": 10, "by": ["a", "b"]}, {"weighted": True}, {"shared": True}):
        sqlglot.parse_one(render("{{ annotator_kappa('pairs', **options) }}", options=options), dialect="duckdb")
