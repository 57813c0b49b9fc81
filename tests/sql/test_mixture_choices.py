"""What an author may choose beyond shares and tokens: conditions, overlaps, windows, all of it once, leaving out."""

from __future__ import annotations

import itertools
import math
import os
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import duckdb
import jinja2
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.sql.mixture_definition import NAMES, Asked, Row, ShortError, order, reference, render

#: doc_id, the components whose conditions it meets, tokens
Tagged = tuple[str, frozenset[str], int]


class OverlapError(Exception):
    pass


@dataclass(frozen=True)
class Choices:
    """Arguments of the macro beside those of Asked. ``total`` is what takes the place of tokens."""

    overlap: str | None
    total: dict[str, Any]
    leave_out: dict[str, str] = field(default_factory=dict)


def connect(pool: list[Tagged], threads: int = 1) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": threads})
    table = pa.table(
        {
            "doc_id": pa.array([row[0] for row in pool], pa.string()),
            "tags": pa.array([sorted(row[1]) for row in pool], pa.list_(pa.string())),
            "n_tokens": pa.array([row[2] for row in pool], pa.int64()),
        }
    )
    connection.register("pool", table)
    connection.execute(
        """
        create view long as select doc_id, tag as component, n_tokens, list_position(tags, tag) as position
        from (select doc_id, n_tokens, tags, unnest(tags) as tag from pool)
        """
    )
    return connection


def sql(asked: Asked, choices: Choices, macro: str = "mixture", **more: Any) -> str:
    values = {
        "pool": "pool",
        "shares": {name: float(share) for name, share in asked.shares.items()},
        "seed": asked.seed,
        "max_epochs": {name: float(epochs) for name, epochs in asked.max_epochs.items()},
        "shortfall": asked.shortfall,
        "components": {name: f"list_contains(tags, '{name}')" for name in asked.shares},
        "overlap": choices.overlap,
        **choices.total,
        **choices.leave_out,
        **more,
    }
    arguments = ", ".join(f"{name}={name}_" for name in values)
    return render(f"{{{{ {macro}({arguments}) }}}}", **{f"{name}_": value for name, value in values.items()})


def expected(pool: list[Tagged], asked: Asked, choices: Choices) -> list[Row]:
    """The choices taken one after the other, until what is left is a plain mixture."""
    names = list(asked.shares)
    out, freed = choices.leave_out.get("leave_out"), choices.leave_out.get("freed")
    told: list[tuple[str, str, int]] = []
    for document, tags, tokens in pool:
        found = [name for name in names if name in tags]
        if choices.overlap == "error" and len(found) > 1:
            raise OverlapError
        if choices.overlap == "all":
            told += [(document, name, tokens) for name in found if out not in found]
        else:
            told += [(document, name, tokens) for name in found[:1] if name != out]
    shares = {name: share for name, share in asked.shares.items() if name != out}
    if out and freed in shares:
        shares[str(freed)] += asked.shares[out]
    asked = replace(asked, shares=shares)
    if choices.overlap == "all":
        return in_several(told, asked, total(told, asked, choices.total))
    if choices.total.get("tokens") == "all":
        epochs = {name: min(Fraction(1), each) for name, each in asked.max_epochs.items()}
        asked = replace(asked, max_epochs=epochs, tokens=total(told, asked, choices.total), shortfall="spill")
        return reference(told, replace(asked, shares=dict(shares)), forgiving=True)
    return reference(told, replace(asked, tokens=total(told, asked, choices.total)))


def total(told: list[tuple[str, str, int]], asked: Asked, how: dict[str, Any]) -> int:
    if "budget" in how:
        return math.floor(int(how["budget"]) * Fraction(str(how["window"])))
    if how["tokens"] != "all":
        return int(how["tokens"])
    caps = {
        name: min(Fraction(1), asked.max_epochs[name]) * sum(row[2] for row in told if row[1] == name)
        for name, share in asked.shares.items()
        if share
    }
    if not sum(caps.values()) or (asked.shortfall == "fail" and not all(caps.values())):
        raise ShortError
    if asked.shortfall == "spill":
        return math.ceil(sum(caps.values()))
    return math.ceil(min(cap * sum(asked.shares.values()) / asked.shares[name] for name, cap in caps.items()))


def in_several(told: list[tuple[str, str, int]], asked: Asked, rest: int) -> list[Row]:
    """Epochs dealt out one by one: a list of chances to be seen, cut where the tokens come nearest to the target."""
    seen: dict[str, int] = {}
    rows: list[Row] = []
    names = list(asked.shares)
    for index, name in enumerate(names):
        documents = sorted((row for row in told if row[1] == name), key=lambda row: order(asked.seed, row[0]))
        epochs = int(asked.max_epochs[name])
        chances = [row for level in range(epochs) for row in documents if epochs - seen.get(row[0], 0) > level]
        weight = sum(asked.shares[each] for each in names[index:])
        share = math.floor(rest * asked.shares[name] / weight) if asked.shares[name] else 0
        cap = sum(row[2] for row in chances)
        last = not any(asked.shares[each] for each in names[index + 1 :])
        if share > cap and (asked.shortfall == "fail" or last):
            raise ShortError
        target = min(share, cap)
        rest -= target
        given: dict[str, int] = {}
        so_far, level_start = 0, 0
        for level in range(epochs):
            of_level = [row for row in documents if epochs - seen.get(row[0], 0) > level]
            whole = level_start + sum(row[2] for row in of_level) <= target and any(row[2] for row in documents)
            so_far = level_start
            for row in of_level:
                so_far += row[2]
                if whole or 2 * so_far - row[2] < 2 * target:
                    given[row[0]] = given.get(row[0], 0) + 1
            if not whole:
                break
            level_start = so_far
        for row in documents:
            if count := given.get(row[0]):
                rows.append((row[0], name, count, row[2]))
                seen[row[0]] = seen.get(row[0], 0) + count
    return sorted(rows)


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Tagged], Asked, Choices]:
    sizes = draw(st.sampled_from([st.integers(0, 5), st.integers(1, 1000), st.just(7), st.integers(0, 10**9)]))
    tags = st.frozensets(st.sampled_from(NAMES), max_size=draw(st.sampled_from([1, 2, 4])))
    pool = [(f"d{number}", draw(tags), draw(sizes)) for number in range(draw(st.integers(1, 30)))]
    names = draw(st.lists(st.sampled_from(NAMES), min_size=2, unique=True))
    share = st.one_of(st.integers(0, 100).map(Fraction), st.sampled_from(["0.1", "34.35"]).map(Fraction))
    shares = {name: draw(share) for name in names}
    overlap = draw(st.sampled_from(["first", "error", "all"]))
    epochs = st.sampled_from(["1", "2", "3", "7"] if overlap == "all" else ["1", "2", "1.5", "0.25"]).map(Fraction)
    whole = max(1, sum(row[2] for row in pool))
    totals: list[st.SearchStrategy[dict[str, Any]]] = [
        st.integers(1, 2 * whole).map(lambda tokens: {"tokens": tokens}),
        st.tuples(st.integers(1, 20 * whole), st.sampled_from([0.05, 0.1, 0.2, 0.3, 1])).map(
            lambda pair: {"budget": pair[0], "window": pair[1]}
        ),
        *([st.just({"tokens": "all"})] if overlap != "all" else []),
    ]
    leave_out: dict[str, str] = {}
    if draw(st.booleans()):
        out = draw(st.sampled_from(names))
        freed = draw(st.sampled_from(["proportionally", *(name for name in names if name != out)]))
        leave_out = {"leave_out": out, "freed": freed}
    remaining = {name for name in names if name != leave_out.get("leave_out")}
    assume(any(shares[name] for name in remaining))
    asked = Asked(
        shares=shares,
        tokens=0,
        seed=draw(st.integers(0, 99)),
        max_epochs={name: draw(epochs) for name in names},
        shortfall=draw(st.sampled_from(["fail", "spill"])),
    )
    return pool, asked, Choices(overlap, draw(st.one_of(totals)), leave_out)


@settings(max_examples=80 if os.environ.get("CUVEE_PROVE") else 30)
@given(situation=situations())
def test_equals_the_definition_over_random_choices(situation: tuple[list[Tagged], Asked, Choices]) -> None:
    pool, asked, choices = situation
    connection = connect(pool)
    try:
        rows = expected(pool, asked, choices)
    except (ShortError, OverlapError) as error:
        message = "several components" if isinstance(error, OverlapError) else "too few tokens|no documents|none of"
        with pytest.raises(duckdb.Error, match=message):
            connection.execute(sql(asked, choices)).fetchall()
        return
    assert sorted(connection.execute(sql(asked, choices)).fetchall()) == rows
    for document, copies in _copies(rows).items():
        highest = max(asked.max_epochs[row[1]] for row in rows if row[0] == document)
        assert copies <= math.ceil(highest)


def _copies(rows: list[Row]) -> dict[str, int]:
    copies: dict[str, int] = {}
    for row in rows:
        copies[row[0]] = copies.get(row[0], 0) + row[2]
    return copies


POOL: list[Tagged] = [
    (f"doc {number}", frozenset(tag for tag, step in (("code", 2), ("maths", 3), ("web", 1)) if number % step == 0), 50)
    for number in range(3000)
]
SHARED = Asked(
    shares={"maths": Fraction(30), "code": Fraction(30), "web": Fraction(40)},
    tokens=0,
    seed=17,
    max_epochs={"maths": Fraction(2), "code": Fraction(2), "web": Fraction(2)},
    shortfall="fail",
)


@pytest.mark.parametrize("overlap", ["first", "all"])
def test_row_order_and_threads_change_nothing(overlap: str) -> None:
    choices = Choices(overlap, {"tokens": 150_000})
    rows = expected(POOL, SHARED, choices)
    for pool, threads in [(POOL, 1), (POOL[::-1], 4)]:
        assert sorted(connect(pool, threads).execute(sql(SHARED, choices)).fetchall()) == rows


def test_windows_are_nested() -> None:
    found = []
    for window in (0.05, 0.1, 0.2, 0.3):
        choices = Choices("first", {"budget": 400_000, "window": window})
        found.append(_copies(connect(POOL).execute(sql(SHARED, choices)).fetchall()))
        assert sum(found[-1].values()) * 50 == pytest.approx(400_000 * window, abs=100)
    for smaller, larger in itertools.pairwise(found):
        assert all(count <= larger.get(document, 0) for document, count in smaller.items())


def test_shares_and_members_may_be_relations() -> None:
    connection = connect(POOL)
    connection.execute("create view shares as select * from (values ('maths', 60), ('code', 20.0)) t(component, share)")
    connection.execute("create view codes as select doc_id from pool where list_contains(tags, 'code')")
    by_name = "pool='pool', tokens=30000, components={'maths': \"list_contains(tags, 'maths')\", 'code': "
    asked = render(f"{{{{ mixture({by_name}\"list_contains(tags, 'code')\"}}, shares={{'maths': 3, 'code': 1}}) }}}}")
    given_ = render(f"{{{{ mixture({by_name}relation}}, shares='shares') }}}}", relation=_Named())
    rows = sorted(connection.execute(asked).fetchall())
    assert sorted(connection.execute(given_).fetchall()) == rows
    left = render(f"{{{{ mixture({by_name}relation}}, shares='shares', leave_out='maths') }}}}", relation=_Named())
    assert {row[1] for row in connection.execute(left).fetchall()} == {"code"}


class _Named:
    """A relation as dbt gives it to templates: an object that prints its name."""

    def __str__(self) -> str:
        return "codes"


def test_a_pool_may_name_several_components_of_a_document() -> None:
    """The overlap rule holds for rows as it does for conditions; without one, rows are taken as they are."""
    for overlap in ("first", "all"):
        choices = Choices(overlap, {"tokens": 120_000})
        rows = sorted(connect(POOL).execute(sql(SHARED, choices, pool="long", components=None)).fetchall())
        assert rows == expected(POOL, SHARED, choices)
    plain = connect(POOL).execute(sql(SHARED, Choices(None, {"tokens": 120_000}), pool="long", components=None))
    assert max(_copies(plain.fetchall()).values()) == 3
    with pytest.raises(duckdb.Error, match="is in several components"):
        choices = Choices("error", {"tokens": 100})
        connect(POOL).execute(sql(SHARED, choices, pool="long", components=None)).fetchall()
    shares = "(select 'code' as component, 1 as share union all select 'maths', 1)"
    by_place = sql(SHARED, Choices("first", {"tokens": "all"}), pool="long", components=None, shares=shares)
    found = {(row[1], int(row[0].split()[1]) % 2) for row in connect(POOL).execute(by_place).fetchall()}
    assert found == {("code", 0), ("maths", 1)}, "code stands before maths in a document's tags"


@pytest.mark.parametrize("overlap", ["first", "all"])
def test_the_report_takes_the_same_choices(overlap: str) -> None:
    connection = connect(POOL)
    choices = Choices(overlap, {"budget": 1_000_000, "window": 0.2}, {"leave_out": "code", "freed": "maths"})
    asked = replace(SHARED, shortfall="spill", max_epochs=dict.fromkeys(SHARED.shares, Fraction(3)))
    connection.execute("create table blend as " + sql(asked, choices))
    report = connection.execute(sql(asked, choices, "mixture_report", mixture="blend"))
    columns = [column[0] for column in report.description or []]
    rows = {row[0]: dict(zip(columns, row, strict=True)) for row in report.fetchall()}
    assert rows.keys() == {"maths", "web"}
    assert rows["maths"]["share_asked"] == pytest.approx(0.6)
    got = connection.execute("select sum(n_tokens * copies) from blend").fetchone()
    assert got and sum(row["tokens_got"] for row in rows.values()) == got[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("shares={'a': 1}", "say tokens, or budget and window"),
        ("shares={'a': 1}, tokens=5, budget=7, window=0.5", "say tokens, or budget and window"),
        ("shares={'a': 1}, budget=7", "say tokens, or budget and window"),
        ("shares={'a': 1}, budget=7, window=20", "window is 20, not a part of the budget"),
        ("shares={'a': 1}, tokens=5, leave_out='b'", "the shares have no component b; they have a"),
        ("shares={'a': 1}, tokens=5, freed='a'", "freed goes with leave_out"),
        ("shares={'a': 1, 'b': 1}, tokens=5, leave_out='a', freed='a'", "a is left out"),
        ("shares={'a': 1}, tokens=5, components={'b': 'true'}", "a has a share but no condition; components has b"),
        ("shares={'a': 1}, tokens=5, overlap='last'", "overlap is 'first', 'error' or 'all', not 'last'"),
        ("shares={'a': 1}, tokens='all', overlap='all'", "overlap='all' needs shares by name"),
        ("shares={'a': 1}, tokens=5, overlap='all', max_epochs=1.5", "whole numbers, not 1.5"),
    ],
)
def test_what_makes_no_sense_is_said(arguments: str, message: str) -> None:
    with pytest.raises(jinja2.TemplateRuntimeError, match=message.replace("(", r"\(")):
        render(f"{{{{ mixture('pool', {arguments}) }}}}")
