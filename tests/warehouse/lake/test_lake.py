"""The lake: commits are atomic, readers need nothing of ours, and maintenance refuses what would lose data."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers import CUVEE, ROOT
from udfs.errors import CuveeError, UsageError
from warehouse.lake.lake import Lake, LakeNotFoundError
from warehouse.lake.maintenance import PinnedSnapshotError, check, compact, expire


def add_documents(lake: Lake, *texts: str) -> None:
    with lake.staging() as staging:
        path = staging.file("raw.documents")
        size = pa.array([len(text) for text in texts], pa.int64())
        table = pa.table({"doc_id": list(texts), "text": list(texts), "n_chars": size, "first_file_id": list(texts)})
        pq.write_table(table, path)
        with lake.commit("add documents") as commit:
            commit.add("raw.documents", [path])


def documents(lake: Lake) -> list[str]:
    return [row[0] for row in lake.cursor().sql("select doc_id from raw.documents order by 1").fetchall()]


def run(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_creating_twice_keeps_what_is_there(lake: Lake) -> None:
    add_documents(lake, "a")
    assert documents(Lake.create(lake.root)) == ["a"]


def test_open_looks_at_the_option_then_the_variable_then_upwards(
    tmp_path: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.delenv("CUVEE_LAKE", raising=False)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    assert Lake.open().root == lake.root
    other = Lake.create(tmp_path / "other")
    monkeypatch.setenv("CUVEE_LAKE", str(other.root))
    assert Lake.open().root == other.root
    assert Lake.open(lake.root).root == lake.root
    with pytest.raises(LakeNotFoundError, match="no lake in"):
        Lake.open(tmp_path / "deep")


def test_a_failed_commit_leaves_nothing(lake: Lake) -> None:
    add_documents(lake, "a")
    before = lake.snapshot()
    with lake.staging() as staging:
        good, bad = staging.file("raw.documents"), staging.file("raw.documents")
        pq.write_table(pa.table({"doc_id": ["b"], "text": ["b"], "n_chars": [1], "first_file_id": ["f"]}), good)
        pq.write_table(pa.table({"unknown": ["b"]}), bad)
        with pytest.raises(CuveeError, match="cannot add files to"), lake.commit("half") as commit:
            commit.add("raw.documents", [good])
            commit.add("raw.documents", [bad])
    assert documents(lake) == ["a"]
    assert lake.snapshot() == before
    assert check(lake).orphans == ()


def test_a_moved_lake_still_opens(lake: Lake, tmp_path: Path) -> None:
    add_documents(lake, "a")
    shutil.move(lake.root, tmp_path / "moved")
    moved = Lake.open(tmp_path / "moved")
    assert documents(moved) == ["a"]
    add_documents(moved, "b")
    assert documents(moved) == ["a", "b"]
    assert check(moved).faults == ()


def test_a_plain_client_reads_it_by_the_printed_statement(lake: Lake) -> None:
    add_documents(lake, "a", "b")
    script = """
        import duckdb, sys
        from warehouse.lake.connection import _extension
        con = duckdb.connect()
        for name in ("ducklake", "sqlite_scanner"):
            con.execute(f"load '{_extension(name, duckdb.__version__)}'")
        con.execute(sys.argv[1])
        print(con.sql("select count(*) from lake.raw.documents").fetchone()[0])
    """
    assert run(script, lake.attach_statement).communicate()[0].strip() == "2"


def test_a_reader_cannot_change_anything(lake: Lake) -> None:
    with pytest.raises(Exception, match="read-only"):
        lake.reader().execute("drop table raw.documents")


COMMIT_MANY = """
    import sys
    from pathlib import Path
    from warehouse.lake.lake import Lake
    lake = Lake.open(Path(sys.argv[1]))
    for i in range(int(sys.argv[3])):
        with lake.commit("one") as commit:
            commit.sql("insert into cuvee.pins values (?, ?, now())", [i, sys.argv[2]])
            commit.sql("insert into cuvee.pins values (?, ?, now())", [i, sys.argv[2]])
        print(i, flush=True)
"""


def test_processes_commit_at_once_and_lose_nothing(lake: Lake) -> None:
    writers = [run(COMMIT_MANY, lake.root, name, 12) for name in ("a", "b", "c")]
    while any(writer.poll() is None for writer in writers):  # a reader never waits and never fails
        lake.cursor().sql("select count(*) from cuvee.pins").fetchall()
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    rows = lake.cursor().sql("select holder, count(*) from cuvee.pins group by 1 order by 1").fetchall()
    assert rows == [("a", 24), ("b", 24), ("c", 24)]


@pytest.mark.parametrize("kills", [5, pytest.param(30, marks=pytest.mark.prove)])
def test_a_killed_committer_loses_nothing_acknowledged(lake: Lake, kills: int) -> None:
    for kill in range(kills):
        writer = run(COMMIT_MANY, lake.root, f"w{kill}", 1000)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.05 + 0.013 * (kill % 10))
        writer.send_signal(signal.SIGKILL)
        acknowledged = 1 + len(writer.stdout.read().split())
        writer.wait()
        rows = lake.cursor().execute("select count(*) from cuvee.pins where holder = ?", [f"w{kill}"]).fetchall()
        assert rows[0][0] % 2 == 0, "half a commit"
        assert acknowledged <= rows[0][0] / 2 <= acknowledged + 1
    assert check(lake).faults == ()


def test_staging_of_a_killed_process_is_removed_by_the_next(lake: Lake) -> None:
    script = """
        import os, signal, sys
        from pathlib import Path
        from warehouse.lake.lake import Lake
        with Lake.open(Path(sys.argv[1])).staging() as staging:
            staging.file("raw.documents").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    run(script, lake.root).wait()
    assert list((lake.root / "staging").rglob("*.parquet"))
    with lake.staging():
        assert not list((lake.root / "staging").rglob("*.parquet"))


def test_check_finds_missing_broken_and_miscounted_files(lake: Lake) -> None:
    for text in ("a", "b", "c", "d"):
        add_documents(lake, text)
    assert check(lake).faults == ()
    first, second, third, _ = sorted((lake.data / "raw" / "documents").glob("*.parquet"))
    first.unlink()
    second.write_bytes(b"not parquet at all")
    shutil.copy(third, third.with_suffix(".keep"))
    pq.write_table(pa.concat_tables([pq.read_table(third)] * 2), third)
    problems = sorted(fault.problem for fault in check(lake).faults)
    assert problems[0] == "2 rows, the catalog says 1"
    assert problems[1] == "missing"
    assert problems[2].startswith("unreadable")


def test_compact_merges_small_files_and_keeps_every_snapshot(lake: Lake) -> None:
    for text in ("a", "b", "c"):
        add_documents(lake, text)
    middle = lake.snapshot() - 1
    done = compact(lake, grace_minutes=0)
    assert done.after < done.before
    assert documents(lake) == ["a", "b", "c"]
    past = lake.cursor().sql(f"select count(*) from raw.documents at (version => {middle})").fetchone()
    assert past == (2,)
    assert check(lake).faults == ()


def test_orphans_are_reported_and_removed(lake: Lake) -> None:
    add_documents(lake, "a")
    stray = lake.data / "raw" / "documents" / "stray.parquet"
    pq.write_table(pa.table({"x": [1]}), stray)
    assert check(lake).orphans == (str(stray),)
    compact(lake, grace_minutes=0)
    assert not stray.exists()
    assert documents(lake) == ["a"]


def test_expire_refuses_a_pinned_snapshot_and_names_the_holder(lake: Lake) -> None:
    add_documents(lake, "a")
    pinned = lake.snapshot()
    with lake.commit("export") as commit:
        commit.pin("export baseline-1", pinned)
    add_documents(lake, "b")
    with pytest.raises(PinnedSnapshotError, match=f"snapshot {pinned} is held by export baseline-1"):
        expire(lake, versions=[1, pinned])
    assert expire(lake, versions=[1]).expired == (1,)
    rest = expire(lake, older_than_days=0)
    assert rest.pinned == {pinned: "export baseline-1"}
    assert lake.cursor().sql(f"select doc_id from raw.documents at (version => {pinned})").fetchall() == [("a",)]
    assert documents(lake) == ["a", "b"]
    with pytest.raises(UsageError, match="no snapshot 4711"):
        expire(lake, versions=[4711])


def cuvee(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*CUVEE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_commands(tmp_path: Path) -> None:
    root = tmp_path / "lake"
    assert cuvee("init", "--lake", root).stdout.startswith("created a lake in")
    assert json.loads(cuvee("init", "--lake", root, "--json").stdout)["created"] is False
    add_documents(Lake.open(root), "a", "b")
    shown = json.loads(cuvee("lake", "--lake", root, "--json").stdout)
    assert {table["table"]: table["rows"] for table in shown["tables"]}["raw.documents"] == 2
    assert shown["snapshots"][-1]["message"] == "add documents"
    assert cuvee("lake", "--lake", root, "check").stdout == "1 files, 2 rows, 0 faults\n"
    answer = cuvee("sql", "--lake", root, "--json", "select doc_id, n_chars from raw.documents order by 1")
    assert json.loads(answer.stdout) == [{"doc_id": "a", "n_chars": 1}, {"doc_id": "b", "n_chars": 1}]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["sql", "select * from raw.documentss"], 2, "Did you mean"),
        (["sql", "drop table raw.documents"], 2, "open for reading only"),
        (["lake", "expire"], 2, "nothing to expire"),
        (["sqll"], 2, "did you mean sql?"),
    ],
)
def test_mistakes_get_a_message_and_a_code(lake: Lake, arguments: list[str], code: int, message: str) -> None:
    head, *rest = arguments
    option = [] if head == "sqll" else ["--lake", str(lake.root)]
    done = cuvee(head, *option, *rest)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_help_is_quick_because_it_imports_nothing_heavy() -> None:
    script = """
        import sys
        from warehouse.cli.main import cli
        try:
            cli(["--help"])
        except SystemExit:
            pass
        heavy = {"duckdb", "pyarrow", "torch", "transformers", "sqlglot", "jinja2", "numpy"} & set(sys.modules)
        assert not heavy, heavy
    """
    assert run(script).wait() == 0


def test_a_lake_that_cannot_be_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CuveeError, match="cannot create a lake"):
        Lake.create(tmp_path / "file" / "lake")
    (tmp_path / "catalog.sqlite").write_text("no database, whatever its name is")
    with pytest.raises(CuveeError, match="cannot use the lake"):
        Lake.open(tmp_path)


def test_a_lost_catalog_is_not_written_over(lake: Lake) -> None:
    add_documents(lake, "a")
    lake.catalog.rename(lake.root / "kept")
    for attempt in (Lake.create, Lake.open):
        with pytest.raises(CuveeError, match="is lost"):
            attempt(lake.root)
    (lake.root / "kept").rename(lake.catalog)
