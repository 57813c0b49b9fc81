"""Builds that are killed, builds side by side, and readers meanwhile."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers import ROOT
from warehouse.lake.lake import Lake

#: A build in a process of its own, with functions whose every call is counted in a file.
BUILD = """
import sys
from pathlib import Path
from tests.warehouse.expensive_functions import functions
from warehouse.build.build import build
from warehouse.answers.budget import AnswerLimits
from warehouse.build.build_options import BuildOptions
from warehouse.lake.lake import Lake
lake, project, calls, delay = sys.argv[1:]
results = build(Lake.open(Path(lake)), Path(project), options=BuildOptions(limits=AnswerLimits(commit_every=40)),
                functions=functions(Path(calls), float(delay)))
sys.exit(any(result.failed for result in results))
"""

#: A plain DuckDB client that knows nothing of Cuvée but the ATTACH statement, and reads until it is told to stop.
READ = """
import sys, duckdb
attach, stop, *extensions = sys.argv[1:]
from pathlib import Path
connection = duckdb.connect()
for extension in extensions:
    connection.execute(f"load '{extension}'")
connection.execute(attach)
seen, last = [], False
while not last:
    last = Path(stop).exists()
    row = connection.execute("select count(*), count(distinct n_docs), min(n_docs) from lake.main.classes").fetchone()
    assert row[0] == row[2], row  # never half a table
    connection.execute("select count(*) from lake.main.documents_now").fetchone()
    if not seen or seen[-1] != row[0]:
        seen.append(row[0])
print(seen)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "models").mkdir(parents=True)
    files = {
        "dbt_project.yml": "name: p\nmodels: {p: {+materialized: table}}\n",
        "models/documents_now.sql": "{{ config(materialized='view') }} select doc_id, text from raw.documents",
        "models/classes.sql": "select doc_id, length_class(text) as c, count(*) over () as n_docs"
        " from {{ ref('documents_now') }}",
        "models/loud.sql": "select mood(upper(d.text)).size as s, c.c, count(*) as n, sum(count(*)) over () as total"
        " from {{ ref('documents_now') }} as d join {{ ref('classes') }} as c using (doc_id) group by all",
        "models/sums.sql": "select sum(n) as documents, any_value(total) as total from {{ ref('loud') }}",
        "models/schema.yml": "models: [{name: classes, columns: [{name: doc_id, tests: [unique, not_null]}]}]\n",
    }
    for name, text in files.items():
        (root / name).write_text(text)
    return root


def add(lake: Lake, first: int, last: int) -> None:
    with lake.commit("documents") as commit:
        commit.sql(
            "insert into lake.raw.documents select left(sha256(t), 32), t, length(t), 'f'"
            f" from (select 'text ' || repeat('x', (i % 7)::int) || i as t from range({first}, {last}) as r(i))"
        )


def start(lake: Lake, project: Path, calls: Path, delay: float = 0.0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILD, str(lake.root), str(project), str(calls), str(delay)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output


def answered(lake: Lake) -> set[tuple[str, str]]:
    cursor = lake.cursor()
    found = set()
    for store in ("counts.length_class", "labels.mood"):
        exists = cursor.execute(
            "select count(*) from duckdb_tables() where schema_name || '.' || table_name = ?", [store]
        ).fetchone()
        if exists and exists[0]:
            found |= {(store, row[0]) for row in cursor.execute(f"select doc_id from lake.{store}").fetchall()}
    return found


def kill_builds(lake: Lake, project: Path, tmp_path: Path, kills: int, seed: int) -> None:
    calls = tmp_path / "calls"
    add(lake, 0, 60)
    finish(start(lake, project, calls))
    chance = random.Random(seed)
    documents = 60
    for _ in range(kills):
        add(lake, documents, documents + 60)
        documents += 60
        process = start(lake, project, calls, delay=0.004)
        time.sleep(chance.uniform(0.5, 2.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        here = Lake.open(lake.root)
        cursor = here.cursor()
        rows, said, keys = cursor.execute(
            "select count(*), min(n_docs), count(distinct doc_id) from main.classes"
        ).fetchone()  # type: ignore[misc]
        assert rows == said == keys and rows % 60 == 0, "one good version, whole"
        assert cursor.execute("select documents = total from main.sums").fetchone() == (True,)
        before = Counter(calls.read_text().split())
        kept = {key for _, key in answered(here)}
        finish(start(here, project, calls))
        asked = Counter(calls.read_text().split())
        repeated = {key for key in asked if asked[key] > before.get(key, 0)} & kept
        assert not repeated, "a committed answer is never paid for again"
        assert cursor.execute("select count(*), min(n_docs) from main.classes").fetchone() == (documents, documents)
        assert cursor.execute("select documents from main.sums").fetchone() == (documents,)
        stored = cursor.execute("select count(*), count(distinct doc_id) from counts.length_class").fetchone()
        assert stored == (documents, documents)
    assert not [path for path in (lake.root / "staging").iterdir() if path.is_dir()], "the next build cleans up"


def test_killed_builds_lose_nothing_and_pay_nothing_twice(lake: Lake, project: Path, tmp_path: Path) -> None:
    kill_builds(lake, project, tmp_path, kills=5, seed=1)


@pytest.mark.prove
def test_killed_builds_thirty_times(lake: Lake, project: Path, tmp_path: Path) -> None:
    kill_builds(lake, project, tmp_path, kills=30, seed=2)


def test_a_plain_client_reads_while_builds_write(lake: Lake, project: Path, tmp_path: Path) -> None:
    import duckdb

    from warehouse.lake.connection import _extension

    add(lake, 0, 50)
    calls, stop = tmp_path / "calls", tmp_path / "stop"
    finish(start(lake, project, calls))
    extensions = [str(_extension(name, duckdb.__version__)) for name in ("ducklake", "sqlite_scanner")]
    reader = subprocess.Popen(
        [sys.executable, "-c", READ, lake.attach_statement, str(stop), *extensions],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    for last in (100, 150, 200):
        add(lake, last - 50, last)
        finish(start(lake, project, calls, delay=0.002))
    stop.touch()
    output, _ = reader.communicate(timeout=60)
    assert reader.returncode == 0, output
    seen = json.loads(output)
    assert seen == sorted(seen) and seen[-1] == 200
    assert len(seen) > 1 and set(seen) <= {50, 100, 150, 200}, "several good versions, each of them whole"


def test_two_builds_at_once_both_succeed(lake: Lake, project: Path, tmp_path: Path) -> None:
    add(lake, 0, 150)
    calls = tmp_path / "calls"
    processes = [start(lake, project, calls, delay=0.003) for _ in range(2)]
    for process in processes:
        finish(process)
    assert set(Counter(calls.read_text().split()).values()) == {1}, "neither pays for what the other answered"
    assert lake.cursor().execute("select count(*) from main.classes").fetchone() == (150,)


def test_documents_that_arrive_while_answers_are_made(lake: Lake, project: Path, tmp_path: Path) -> None:
    add(lake, 0, 150)
    process = start(lake, project, tmp_path / "calls", delay=0.01)
    deadline = time.monotonic() + 60
    while not (tmp_path / "calls").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    add(lake, 150, 200)
    finish(process)
    rows, said = lake.cursor().execute("select count(*), min(n_docs) from main.classes").fetchone()  # type: ignore[misc]
    assert rows == said and rows in (150, 200)
    finish(start(lake, project, tmp_path / "calls"))
    assert lake.cursor().execute("select count(*) from main.classes").fetchone() == (200,)
