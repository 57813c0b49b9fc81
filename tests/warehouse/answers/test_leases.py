"""Builds that answer the same inputs at the same time: nothing is paid for twice, also when one of them dies."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from filelock import FileLock, Timeout
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import ROOT
from udfs.expensive import INPUT_SCHEMA
from warehouse.answers.leases import PREFIXES, Leases, Share, prefix_of
from warehouse.lake.lake import Lake

#: A build of one model in a process of its own, which begins when the others are ready too.
BUILD = """
import sys, time
from pathlib import Path
from tests.warehouse.expensive_functions import functions
from warehouse.build.build import build
from warehouse.answers.budget import AnswerLimits
from warehouse.build.build_options import BuildOptions
from warehouse.build.execution.build_run import BuildCallback
from warehouse.project.options import Selection
from warehouse.lake.lake import Lake
lake, project, model, calls, delay, seconds = sys.argv[1:]
class Told(BuildCallback):
    def say(self, line):
        print(line, flush=True)
Path(calls).with_suffix('.ready').touch()
while not Path(lake, 'go').exists():
    time.sleep(0.01)
results = build(Lake.open(Path(lake)), Path(project), Selection((model,)), callback=Told(),
                options=BuildOptions(limits=AnswerLimits(commit_every=40, lease_seconds=float(seconds))),
                functions=functions(Path(calls), float(delay)))
sys.exit(any(result.failed for result in results))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "models").mkdir(parents=True)
    (root / "dbt_project.yml").write_text("name: p\nmodels: {p: {+materialized: table}}\n")
    for name in "abc":
        (root / f"models/{name}.sql").write_text("select doc_id, length_class(text) as c from raw.documents")
    return root


def add(lake: Lake, first: int, last: int) -> None:
    with lake.commit("documents") as commit:
        commit.sql(
            "insert into lake.raw.documents select left(sha256(t), 32), t, length(t), 'f'"
            f" from (select 'text ' || i as t from range({first}, {last}) as r(i))"
        )


class Labelling:
    """Processes that build a model each."""

    def __init__(self, lake: Lake, project: Path, folder: Path, *, delay: float, seconds: float = 60.0) -> None:
        self.lake, self.folder = lake, folder
        folder.mkdir()
        self.processes: dict[str, subprocess.Popen[str]] = {}
        (lake.root / "go").unlink(missing_ok=True)
        for model in "abc":
            arguments = [lake.root, project, model, folder / model, delay, seconds]
            self.processes[model] = subprocess.Popen(
                [sys.executable, "-c", BUILD, *map(str, arguments)],
                cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip

    def go(self) -> None:
        wait_for(lambda: all((self.folder / f"{model}.ready").exists() for model in "abc"))
        (self.lake.root / "go").touch()

    def sent(self, model: str) -> Counter[str]:
        path = self.folder / model
        return Counter(path.read_text().split()) if path.exists() else Counter()

    def finish(self, model: str) -> str:
        output, _ = self.processes[model].communicate(timeout=300)
        assert self.processes[model].returncode == 0, output
        return output


def wait_for(condition: object) -> None:
    deadline = time.monotonic() + 120
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stored(lake: Lake) -> Counter[str]:
    cursor = lake.cursor()
    exists = cursor.execute("select count(*) from duckdb_tables() where table_name = 'length_class'").fetchone()
    if not exists or not exists[0]:
        return Counter()
    return Counter(row[0] for row in cursor.execute("select doc_id from counts.length_class").fetchall())


def test_three_builds_share_what_is_to_be_answered(lake: Lake, project: Path, tmp_path: Path) -> None:
    add(lake, 0, 2000)
    builds = Labelling(lake, project, tmp_path / "calls", delay=0.003)
    builds.go()
    for model in "abc":
        builds.finish(model)
    sent = builds.sent("a") + builds.sent("b") + builds.sent("c")
    assert len(sent) == 2000 and set(sent.values()) == {1}, "each document is sent once in all"
    assert sum(bool(builds.sent(model)) for model in "abc") > 1, "more than one of them works"
    for model in "abc":
        assert lake.cursor().execute(f"select count(*), count(c) from main.{model}").fetchone() == (2000, 2000)
    assert not list((lake.root / "leases").iterdir()), "nothing is left behind"


def kill_one_of_three(lake: Lake, project: Path, tmp_path: Path, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    documents = 0
    for kill in range(kills):
        add(lake, documents, documents + 1200)
        documents += 1200
        before = len(stored(lake))
        builds = Labelling(lake, project, tmp_path / f"calls{kill}", delay=0.003)
        builds.go()
        answered = before + chance.randrange(50, 900)
        wait_for(lambda: len(stored(Lake.open(lake.root))) >= answered)  # noqa: B023
        victim = chance.choice([model for model in "abc" if builds.sent(model)])
        builds.processes[victim].send_signal(signal.SIGKILL)
        builds.processes[victim].communicate()
        for model in sorted(set("abc") - {victim}):
            builds.finish(model)
        rows = stored(lake)
        assert len(rows) == documents and set(rows.values()) == {1}, "an answer that was committed is not paid again"
        sent = builds.sent("a") + builds.sent("b") + builds.sent("c")
        twice = {key for key, times in sent.items() if times > 1}
        assert max(sent.values()) <= 2 and twice <= set(builds.sent(victim)), "only what the dead one had in flight"


def test_the_others_take_over_from_a_build_that_is_killed(lake: Lake, project: Path, tmp_path: Path) -> None:
    kill_one_of_three(lake, project, tmp_path, kills=2, seed=1)


@pytest.mark.prove
def test_twenty_kills_of_one_of_three(lake: Lake, project: Path, tmp_path: Path) -> None:
    kill_one_of_three(lake, project, tmp_path, kills=20, seed=2)


def test_a_build_that_is_stopped_loses_its_lease(lake: Lake, project: Path, tmp_path: Path) -> None:
    add(lake, 0, 1500)
    builds = Labelling(lake, project, tmp_path / "calls", delay=0.003, seconds=3.0)
    builds.go()
    wait_for(lambda: any(builds.sent(model) for model in "abc"))
    stopped = next(model for model in "abc" if builds.sent(model))
    stop_between_commits(lake, builds.processes[stopped])
    try:
        others = sorted(set("abc") - {stopped})
        for model in others:
            builds.finish(model)
    finally:
        builds.processes[stopped].send_signal(signal.SIGCONT)
    builds.finish(stopped)
    assert lake.cursor().execute(f"select count(*), count(c) from main.{stopped}").fetchone() == (1500, 1500)


def stop_between_commits(lake: Lake, process: subprocess.Popen[str]) -> None:
    """SIGSTOP at a moment at which it does not hold the lake's lock: that would stop everybody."""
    while True:
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        try:
            with FileLock(lake.root / "commit.lock", timeout=0):
                return
        except Timeout:
            process.send_signal(signal.SIGCONT)
            time.sleep(0.05)


# --- the rules, in one process --------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> tuple[Leases, Leases]:
    return Leases(tmp_path, seconds=60), Leases(tmp_path, seconds=60)


EVERYWHERE = {0: 10, 0x4000: 10, 0x8000: 10, 0xFFFF: 10}


def inputs(*keys: str) -> pa.RecordBatch:
    return pa.record_batch([list(keys), ["text"] * len(keys)], schema=INPUT_SCHEMA)


def test_who_is_alone_gets_everything_and_a_second_one_the_half_it_asks_for(two: tuple[Leases, Leases]) -> None:
    first, second = two
    lease = first.take("f", EVERYWHERE)
    assert lease is not None and (lease.low, lease.high) == (0, PREFIXES)
    assert second.take("f", EVERYWHERE) is None
    assert second.take("g", EVERYWHERE) is not None, "another function's inputs are another matter"
    share = Share(first, lease, inputs=100)
    sent = share.admit(inputs("0000", "9000"))
    assert sent.num_rows == 2
    second.ask_for_share("f", EVERYWHERE)
    share.watch()
    assert share.hurried and share.admit(inputs("0001", "9001"))["key"].to_pylist() == ["0001"]
    share.watch()
    assert not second.is_free("f", EVERYWHERE), "9000 was sent and is not committed"
    share.settle(["9000"])
    share.watch()
    other = second.take("f", EVERYWHERE)
    assert other is not None and (other.low, other.high) == (PREFIXES // 2, PREFIXES)
    assert other.holds("key") == "key >= '8000'" and not share.hurried
    share.release()
    assert first.is_free("f", {0: 1}) and not first.is_free("f", {0x9000: 1})


def test_a_lease_ends_with_its_process_and_with_its_time(tmp_path: Path) -> None:
    first, second = Leases(tmp_path, seconds=-1), Leases(tmp_path, seconds=60)
    lease = first.take("f", EVERYWHERE)
    assert lease is not None
    assert second.take("f", EVERYWHERE) is not None, "its time is over"
    share = Share(first, lease, inputs=100)
    share.watch()
    assert share.lost and share.admit(inputs("0000")).num_rows == 0
    second.close()
    third, fourth = Leases(tmp_path), Leases(tmp_path)
    assert third.take("f", EVERYWHERE) is not None
    third._lock.release()  # as the operating system does for a process that ends
    assert fourth.take("f", EVERYWHERE) is not None


@given(st.text(max_size=6), st.integers(1, PREFIXES - 1))
def test_a_key_is_on_the_side_of_a_bound_on_which_its_prefix_is(key: str, prefix: int) -> None:
    assert (prefix_of(key) >= prefix) == (key >= f"{prefix:04x}")


@given(st.lists(st.integers(0, 15), max_size=4), st.integers(1, 3))
def test_leases_never_overlap(tmp_path_factory: pytest.TempPathFactory, wanted: list[int], builds: int) -> None:
    root = tmp_path_factory.mktemp("leases")
    taking = [Leases(root) for _ in range(builds)]
    held = []
    for turn, place in enumerate(wanted):
        leases = taking[turn % builds]
        lease = leases.take("f", {place * 4096: 1})
        if lease is not None:
            held = [each for each in held if each.holder != lease.holder]
            assert all(lease.high <= each.low or each.high <= lease.low for each in held)
            leases.shorten(lease, max(lease.low + 1, place * 4096))
            held.append(lease.__class__(lease.fingerprint, lease.holder, lease.low, max(lease.low + 1, place * 4096)))
    for leases in taking:
        leases.close()
