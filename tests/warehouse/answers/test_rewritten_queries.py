"""Expensive functions inside SQL mean what a plain function would, wherever the call stands."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.warehouse import expensive_functions
from tests.warehouse.helpers import step
from udfs.errors import CuveeError
from warehouse.answers import answers
from warehouse.answers.answer_runner import AnswerRunner
from warehouse.answers.budget import NO_LIMITS
from warehouse.answers.call_stats import AnswerCallback
from warehouse.answers.calls import AnswerContext
from warehouse.lake.lake import Lake

TEXTS = ["a", "bb", "ccc", "dd d", "", "é", None]


class Bench:
    """A lake with small tables, where a query can be answered both ways."""

    def __init__(self, root: Path) -> None:
        self.lake = Lake.create(root / "lake")
        self.cursor = self.lake.cursor()
        self.plain = self.lake.cursor()
        for cursor in (self.cursor, self.plain):
            cursor.execute("set search_path = 'lake.main,memory.main'")
        with self.lake.commit("documents") as commit:
            for text in filter(None, TEXTS):
                key = hashlib.sha256(text.encode()).hexdigest()[:32]
                commit.sql("insert into lake.raw.documents values (?, ?, ?, 'f')", [key, text, len(text)])
        for macro in expensive_functions.MACROS:
            self.plain.execute(macro)
        self.context = AnswerContext(self.lake, expensive_functions.functions(), NO_LIMITS, "main", steps={})

    def fill(self, left: list[tuple], right: list[tuple]) -> None:
        for name, rows in (("l", left), ("r", right)):
            self.plain.execute(f"create or replace table memory.main.{name} (id bigint, t varchar, k bigint)")
            if rows:
                values = ", ".join(["(?, ?, ?)"] * len(rows))
                self.plain.execute(f"insert into memory.main.{name} values {values}", [x for row in rows for x in row])

    def rewritten(self, sql: str) -> Counter:
        with (
            closing(AnswerRunner(self.context, AnswerCallback())) as runner,
            answers.answered(runner, step(sql), self.cursor, lambda cursor, step: None) as ready,
        ):
            relation = self.cursor.sql(ready.sql)
            return Counter(map(repr, [tuple(relation.columns), *relation.fetchall()]))

    def direct(self, sql: str) -> Counter:
        relation = self.plain.sql(sql)
        return Counter(map(repr, [tuple(relation.columns), *relation.fetchall()]))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    yield Bench(tmp_path_factory.mktemp("operators"))


# Every place a call may stand in. All columns are named, because DuckDB names the others after their text.
QUERIES = """
select id, length_class(t) as n from l
select l.id, mood(t).tone.primary as p, mood(t).size as s from l where k > 1
select id from l where length_class(t) = 2
select id from l where length_class(t) = 2 and k = 1
select id from l where length_class(t) = 2 or k = 1
select id from l where not (length_class(t) = 2 and k = 1)
select id from l where length_class(t) is null
select id from l where mood(t).tone.secondary is null
select length_class(t) as n, count(*) as c from l group by length_class(t)
select length_class(t) as n, count(*) as c from l group by 1
select length_class(t) as n, count(*) as c from l group by n
select length_class(t) as n, count(*) as c from l group by all
select mood(t).size as s, length_class(t) as n, max(k) as m from l group by all having count(*) > 1
select t, length_class(t) as n, count(*) as c from l group by t
select t, count(*) as c from l group by t having length_class(t) > 1
select sum(length_class(t)) as s, count(distinct mood(t).tone.primary) as d from l
select k, max(length_class(t)) filter (where length_class(t) < 4) as m from l group by k
select k, count(*) filter (where mood(t).size = 'long') as m from l group by k
select id, row_number() over (partition by length_class(t) order by id, k, t) as n from l
select id, sum(length_class(t)) over (partition by k) as n from l
select distinct length_class(t) as n from l
select id from l order by length_class(t), id
select max(n) as m from (select length_class(t) as n from l) x
with x as (select id, t, length_class(t) as n from l) select x.id, n, length_class(x.t) as again from x where n > 1
with x as (select * from l where k = 1), y as (select id, length_class(t) as n from x) select * from y
with x as (select id as i from l where k = 1) select id, length_class(t) as n from l where id in (select i from x)
with y as (select id, length_class(t) as n from l where k = 1) select id, n from y where n is not null
select id from (select id, length_class(t) as n from l where id in (select id from r)) x where n is null
select l.id, length_class(l.t) as a, length_class(r.t) as b from l join r on l.id = r.id
select l.id, length_class(l.t) as a, length_class(r.t) as b from l left join r on l.id = r.id
select l.id, length_class(r.t) as b from l right join r on l.id = r.id where r.k > 0
select l.id, length_class(l.t) as a, length_class(r.t) as b from l full join r on l.id = r.id
select l.id, length_class(coalesce(r.t, 'none')) as b from l left join r on l.id = r.id
select l.id, length_class(l.t || r.t) as b from l join r using (id)
select l.id, length_class(l.t || coalesce(r.t, '')) as b from l, r where l.k = r.k
select l.id, r.id as rid from l join r on l.id = r.id and length_class(r.t) = 2
select l.id, r.id as rid from l left join r on l.id = r.id and length_class(r.t) = 2
select l.id, r.id as rid from l left join r on l.id = r.id and length_class(l.t) = 2
select l.id, r.id as rid from l left join r on l.id = r.id and length_class(l.t) = 2 where l.k = 1
select l.id, r.id as rid from l left join r on l.id = r.id and length_class(r.t) > 1 where r.k = 1
select l.id, r.id as rid from l full join r on l.id = r.id and length_class(r.t) > 1 and length_class(l.t) > 0
select l.id, r.id as rid from l right join r on length_class(l.t) = length_class(r.t)
select l.*, r.* from l left join r on length_class(l.t) = length_class(r.t) and mood(r.t).size = 'short'
select * from l left join r using (id) where length_class(l.t) is distinct from length_class(r.t)
select l.id from l semi join r on l.id = r.id and length_class(r.t) = 2
select l.id from l anti join r on l.id = r.id and length_class(r.t) = 2
select id from l where id in (select id from r where length_class(t) > 1)
select id from l where length_class(t) not in (select length_class(t) from r where t is not null)
select id from l where length_class(t) not in (select length_class(t) from r)
select id from l where exists (select 1 from r where r.id = l.id and length_class(r.t) = 2)
select id, (select max(length_class(r.t)) from r where r.id = l.id) as m from l
select length_class(t) as n from l union select length_class(t) from r
select length_class(t) as n from l union all select k from r
select id from l where mood(t).size = 'long' except select id from r where length_class(t) = 0
select length_class(mood(t).tone.primary) as n from l
select length_class(mood(t).tone.primary || mood(t).size) as n from l where k = 1 and length_class(t) > 0
select case when k = 1 then length_class(t) else -1 end as n from l
select coalesce(length_class(t), 9) + 1 as n, upper(mood(t).size) as s from l
select t as s, length_class(s) as n from l
select length_class(t) as n, k from l where n > 1 and k = 1
select * from l where length_class(t) > 1
select l.* from l where length_class(t) > 1
select * exclude (k) from l where length_class(t) > 1
select count(*) as c from l where length_class(t) > 1
select length_class('abc') as n, id from l
select length_class('abc') as n
select length_class(upper(trim(t)) || k) as n from l
select x.w, length_class(x.w) as n from l, unnest(string_split(l.t, ' ')) as x(w)
select id, length_class(t) as n from l qualify row_number() over (partition by length_class(t) order by id, k, t) = 1
select id, length_class(t) as n from (select * from l order by id, k, t limit 3) x
select id, length_class(t) as n from l order by id, k, t limit 3
select doc_id, length_class(text) as n, mood(text).size as s from raw.documents where n_chars > 1
select l.id, length_class(d.text) as n from l left join raw.documents d on d.text = l.t
with c as (select doc_id as i, text as b from raw.documents) select i, length_class(b) as n from c join l on t = b
select a.id, b.id as bid from l a join l b on length_class(a.t) = length_class(b.t) and a.id < b.id
select length_class(t) as n from (select t from l union all select t from r) u
select (select length_class(max(t)) from (select t from r order by t) z group by t order by 1 limit 1) as n where false
select length_class(l.t, 'x') as n, length_class(l.t) as m from l
from l select length_class(t) as n where k > 0
select list(length_class(t) order by length_class(t), id) as n from l
""".strip().splitlines()[:]
QUERIES = [query for query in QUERIES if "max(t)) from" not in query]
# DuckDB's macros take one argument.
DIRECT = {query: query.replace(", 'x')", ")") for query in QUERIES}

rows = st.lists(
    st.tuples(st.sampled_from([1, 2, 3, None]), st.sampled_from(TEXTS), st.sampled_from([0, 1, 2, None])), max_size=6
)


@pytest.mark.parametrize("query", QUERIES)
def test_a_call_means_what_the_function_means(bench: Bench, query: str) -> None:
    left = [(1, "a", 1), (1, "a", 1), (2, "bb", 2), (3, None, 1), (None, "ccc", 1), (4, "dd d", None), (2, "", 0)]
    right = [(1, "bb", 1), (2, None, 1), (2, "é", 2), (5, "zz z", 1), (None, "a", 0)]
    bench.fill(left, right)
    assert bench.rewritten(query) == bench.direct(DIRECT[query])


@settings(max_examples=8 if os.environ.get("CUVEE_PROVE") else 4, suppress_health_check=list(HealthCheck))
@given(left=rows, right=rows, queries=st.lists(st.sampled_from(QUERIES), min_size=8, max_size=8, unique=True))
def test_on_any_rows(bench: Bench, left: list[tuple], right: list[tuple], queries: list[str]) -> None:
    bench.fill(left, right)
    for query in queries:
        assert bench.rewritten(query) == bench.direct(DIRECT[query]), query


sides = st.sampled_from(["l.t", "r.t", "coalesce(r.t, 'x')", "l.t || coalesce(r.t, '')", "upper(r.t)"])
joins = st.sampled_from(["join", "left join", "right join", "full join"])
atoms = st.sampled_from(
    ["l.k = 1", "r.k > 0", "l.id is not null", "r.id is null", "l.k = r.k", "l.id in (select id from r)"]
)


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(
    left=rows,
    right=rows,
    join=joins,
    on=st.sampled_from(
        ["", " and length_class(r.t) > 1", " and length_class(l.t) > 1", " and mood(r.t).size = 'long'"]
    ),
    shown=sides,
    asked=sides,
    atom=atoms,
    other=atoms,
    word=st.sampled_from(["and", "or"]),
)
def test_on_any_join(bench, left, right, join, on, shown, asked, atom, other, word) -> None:  # type: ignore[no-untyped-def]
    bench.fill(left, right)
    sql = (
        f"select l.id, r.k, length_class({shown}) as n from l {join} r on l.id = r.id{on}"
        f" where {atom} {word} (length_class({asked}) > 0 or {other})"
    )
    assert bench.rewritten(sql) == bench.direct(sql), sql


def test_what_cannot_be_is_refused_with_its_place(bench: Bench) -> None:
    bench.fill([], [])
    with pytest.raises(CuveeError, match="knows no 'y'") as caught:
        bench.rewritten("select length_class(t, 'y') as n from l")
    assert caught.value.where is not None and caught.value.where.path == "models/m.sql"


def test_equal_texts_cost_one_call_and_nothing_is_asked_twice(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    calls = tmp_path / "calls"
    bench.context = replace(bench.context, functions=expensive_functions.functions(calls))
    bench.fill([(1, "a", 1), (2, "a", 1), (3, "bb", 1), (4, None, 1), (5, "far", 2)], [(1, "bb", 1)])
    bench.rewritten("select length_class(t) as n from l where k = 1 and length_class(t) > 0")
    assert len(calls.read_text().split()) == 2, "a and bb; NULL and the row that k = 1 drops are not asked"
    bench.rewritten("select length_class(r.t) as n from r")
    bench.rewritten("select length_class(d.text) as n from raw.documents d where n_chars = 2")
    assert len(calls.read_text().split()) == 2, "another model, another table, the same texts"
    bench.rewritten("select mood(t) as m from l where k = 1 or length_class(t) = 9")
    assert sorted(Counter(calls.read_text().split()).values()) == [2, 2, 2], "an OR narrows nothing"


def test_errors_fail_beyond_the_stated_share(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.fill([(1, "bad", 1), (2, "b", 1)], [])
    with pytest.raises(CuveeError, match=r"1 of 2 answers of length_class.* are errors.*no idea"):
        bench.rewritten("select length_class(t) as n from l")


def test_a_field_that_is_not_there_is_found_before_anything_is_paid(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    calls = tmp_path / "calls"
    bench.context = replace(bench.context, functions=expensive_functions.functions(calls))
    bench.fill([(1, "a", 1)], [])
    with pytest.raises(CuveeError, match="feelng"):
        bench.rewritten("select mood(t).feelng as m from l")
    with pytest.raises(CuveeError, match="wrd"):
        bench.rewritten("select length_class(t) as n, wrd from l")
    assert not calls.exists()
