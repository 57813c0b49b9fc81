"""Microbatch models without dbt: which batches there are, when they are due, and what they refuse."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.warehouse.expensive_functions import functions
from udfs.errors import UsageError
from warehouse.build import build as building
from warehouse.build.build_options import BuildOptions
from warehouse.build.materialize import microbatch
from warehouse.graph.loaded_project import open_project
from warehouse.lake.lake import Lake
from warehouse.project.options import Options
from warehouse.project.project import Node, ProjectErrors

limited = settings(max_examples=50)
TIMES = st.datetimes(datetime(2001, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


def node(**config: object) -> Node:
    known = {"materialized": "incremental", "incremental_strategy": "microbatch", "event_time": "seen", **config}
    return Node("model.p.m", "model", "m", "p", "models/m.sql", ("p", "m"), config=known)


@limited
@given(now=TIMES, size=st.sampled_from(["hour", "day", "month", "year"]), lookback=st.integers(0, 40))
def test_the_last_batches_end_with_now(now: datetime, size: str, lookback: int) -> None:
    found = microbatch.batches(node(batch_size=size, lookback=lookback), now, None, fresh=False)
    assert len(found) == lookback + 1
    assert found[-1].start < now <= found[-1].end
    assert len({batch.id for batch in found}) == len(found)
    for before, after in pairwise(found):
        assert before.end == after.start
    length = {"hour": 1 / 24, "day": 1, "month": 31, "year": 366}[size]
    assert all(timedelta(0) < batch.end - batch.start <= timedelta(days=length) for batch in found)


@limited
@given(times=st.tuples(TIMES, TIMES).map(sorted), size=st.sampled_from(["day", "month", "year"]))
def test_batches_between_two_times_hold_all_between(times: list[datetime], size: str) -> None:
    start, end = times[0], times[1] + timedelta(seconds=1)
    found = microbatch.batches(node(batch_size=size), end, (start, end), fresh=True)
    assert found[0].start <= start and found[-1].end >= end
    assert found[0].end > start and found[-1].start < end


EVENTS = "id,seen\n1,2024-01-01 10:00:00\n2,2024-01-02 10:00:00\n3,2024-01-03 10:00:00\n"
MODEL = """{{ config(materialized='incremental', incremental_strategy='microbatch', event_time='seen',
    batch_size='day', begin='2024-01-01') }}
select * from {{ ref('events') }}
"""
RANGE = BuildOptions(event_time_start="2024-01-01", event_time_end="2024-01-04")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "p"
    for name, text in {
        "dbt_project.yml": "name: p\n",
        "seeds/events.csv": EVENTS,
        "seeds/schema.yml": "seeds: [{name: events, config: {event_time: seen}}]\n",
        "models/daily.sql": MODEL,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def statuses(lake: Lake, project: Path, options: Options = RANGE) -> dict[str, str]:
    results = building.build(lake, project, options=options)
    assert not [result.message for result in results if result.failed]
    return {result.name: result.status for result in results}


def ids(lake: Lake) -> list[int]:
    return [row[0] for row in lake.cursor().execute("select id from main.daily order by 1").fetchall()]


def test_built_once_until_there_are_other_batches(lake: Lake, project: Path) -> None:
    assert statuses(lake, project)["daily"] == "built"
    before = lake.snapshot()
    assert statuses(lake, project)["daily"] == "unchanged"
    assert lake.snapshot() == before and ids(lake) == [1, 2, 3]
    later = BuildOptions(event_time_start="2024-01-02", event_time_end="2024-01-03")
    assert statuses(lake, project, later)["daily"] == "built", "other batches are asked for"
    assert statuses(lake, project, later)["daily"] == "unchanged"
    assert statuses(lake, project, BuildOptions())["daily"] == "built", "the last batches are"
    assert statuses(lake, project, BuildOptions())["daily"] == "unchanged"
    (plan,) = [each for each in building.plan(open_project(lake, project, RANGE)) if each.step.name == "daily"]
    assert plan.why == ("there are other batches",)
    assert ids(lake) == [1, 2, 3]


def test_only_the_batches_asked_for_are_replaced(lake: Lake, project: Path) -> None:
    statuses(lake, project)
    (project / "seeds/events.csv").write_text("id,seen\n11,2024-01-01 10:00:00\n12,2024-01-02 10:00:00\n")
    statuses(lake, project, BuildOptions(event_time_start="2024-01-02", event_time_end="2024-01-03"))
    assert ids(lake) == [1, 3, 12]


def test_a_batch_that_fails_leaves_all_as_it_was(lake: Lake, project: Path) -> None:
    statuses(lake, project)
    text = MODEL.replace("select *", "select id, seen").replace(
        "ref('events') }}", "ref('events') }} where id <> 13 or error('the thirteenth') = 1"
    )
    (project / "models/daily.sql").write_text(text)
    (project / "seeds/events.csv").write_text("id,seen\n12,2024-01-01 10:00:00\n13,2024-01-02 10:00:00\n")
    (result,) = [each for each in building.build(lake, project, options=RANGE) if each.name == "daily"]
    assert result.status == "error" and "the thirteenth" in result.message
    assert ids(lake) == [1, 2, 3]


def test_a_new_column_comes_with_a_batch(lake: Lake, project: Path) -> None:
    statuses(lake, project)
    text = MODEL.replace("select *", "select *, 'new' as more").replace(
        "begin=", "on_schema_change='append_new_columns', begin="
    )
    (project / "models/daily.sql").write_text(text)
    statuses(lake, project, BuildOptions(event_time_start="2024-01-02", event_time_end="2024-01-04"))
    rows = lake.cursor().execute("select id, more from main.daily order by 1").fetchall()
    assert rows == [(1, None), (2, "new"), (3, "new")]


def test_answers_are_paid_for_in_every_batch(lake: Lake, project: Path) -> None:
    (project / "models/daily.sql").write_text(MODEL.replace("select *", "select *, length_class(repeat('n', id)) as n"))
    results = building.build(lake, project, options=RANGE, functions=functions())
    assert not [result.message for result in results if result.failed]
    rows = lake.cursor().execute("select id, n from main.daily order by 1").fetchall()
    assert rows == [(id, (7 * id + ord("n")) % 5) for id in (1, 2, 3)]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("event_time='seen',", "", "needs event_time"),
        ("batch_size='day',", "", "needs batch_size"),
        ("'day'", "'week'", "batch_size is 'week'"),
        ("begin=", "unique_key='id', begin=", "has no unique_key"),
        ("begin=", "lookback=-1, begin=", "lookback is -1"),
    ],
)
def test_settings_that_cannot_be(lake: Lake, project: Path, before: str, after: str, message: str) -> None:
    (project / "models/daily.sql").write_text(MODEL.replace(before, after))
    with pytest.raises(ProjectErrors, match=message):
        open_project(lake, project)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (", begin='2024-01-01'", "", "needs begin"),
        ("select *", "select *, '{{ this }}' as t", "its 3 batches are built at once"),
    ],
)
def test_what_a_build_refuses(lake: Lake, project: Path, before: str, after: str, message: str) -> None:
    (project / "models/daily.sql").write_text(MODEL.replace(before, after))
    options = BuildOptions() if "begin" in message else RANGE
    results = {each.name: each for each in building.build(lake, project, options=options)}
    assert results["daily"].status == "error" and message in results["daily"].message


@pytest.mark.parametrize(
    "options",
    [
        BuildOptions(event_time_start="2024-01-01"),
        BuildOptions(event_time_end="2024-01-01"),
        BuildOptions(event_time_start="2024-01-02", event_time_end="2024-01-01"),
        BuildOptions(event_time_start="soon", event_time_end="2024-01-01"),
    ],
)
def test_times_that_cannot_be(lake: Lake, project: Path, options: Options) -> None:
    with pytest.raises(UsageError, match="time"):
        building.build(lake, project, options=options)
