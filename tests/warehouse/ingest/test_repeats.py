"""The same data again: second runs, changed files, copies, duplicates, several processes, kills, memory."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers import CUVEE, ROOT, doc_id, write_jsonl
from tests.warehouse.ingest.helpers import assert_consistent
from udfs.errors import UsageError
from warehouse.ingest import run
from warehouse.ingest.inputs import find_inputs
from warehouse.ingest.records import IngestOptions, StrictError
from warehouse.ingest.run import ingest
from warehouse.lake.lake import Lake

#: Ingest with small units, so that a run has many commits.
INGEST = """
import sys
from pathlib import Path
from warehouse.ingest import run
from warehouse.ingest.inputs import find_inputs
from warehouse.ingest.records import IngestOptions
from warehouse.lake.lake import Lake
run.UNIT_FILES, run.SMALL = 3, 100_000
run.ingest(Lake.open(Path(sys.argv[1])), find_inputs(sys.argv[2:]), IngestOptions())
"""


def test_a_second_run_adds_nothing_and_opens_nothing(lake, read, ask, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    write_jsonl(folder / "a.jsonl", [{"text": "x"}, {"text": 1}])
    (folder / "b.md").write_text("y")
    read(folder)
    before = lake.snapshot()
    for path in folder.iterdir():
        path.chmod(0)
    assert read(folder).count("unchanged") == 2
    assert lake.snapshot() == before


def test_a_changed_file_is_a_new_file_and_a_touched_one_is_not(lake, read, ask, tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "x"}])
    read(path)
    os.utime(path, ns=(1, 1))
    assert read(path).count("touched") == 1
    assert ask("select modified_ns from raw.files") == [(1,)]
    assert read(path).count("unchanged") == 1
    write_jsonl(path, [{"text": "x"}, {"text": "z"}])
    report = read(path)
    assert (report.rows, report.documents) == (2, 1)
    assert ask("select count(*), count(distinct file_id), count(distinct path) from raw.files") == [(2, 2, 1)]
    assert_consistent(lake)


def test_a_copy_of_a_shard_adds_nothing_but_a_copy_of_a_text_is_an_occurrence(lake, read, ask, tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "x"}])
    copy = shutil.copy(path, tmp_path / "copy.jsonl")
    [first, second] = read(path, Path(copy)).files
    assert sorted([first.outcome, second.outcome]) == ["copy", "ingested"]
    assert read(Path(copy), source="other").rows == 1
    (tmp_path / "one.md").write_text("text")
    (tmp_path / "two.md").write_text("text")
    report = read(tmp_path / "one.md", tmp_path / "two.md")
    assert (report.rows, report.documents) == (2, 1)
    assert_consistent(lake)


def test_other_fields_read_the_file_again(read, tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"body": "x"}])
    assert read(path).rejected == 1
    assert read(path).count("unchanged") == 1
    assert read(path, text_field="body").rows == 1
    assert read(path, text_field="body").count("unchanged") == 1


def shuffled(records: list[dict[str, str]], folder: Path, seed: int) -> Path:
    """The records in a random order, cut into files at random, some compressed differently."""
    order = random.Random(seed)
    records = order.sample(records, len(records))
    folder.mkdir()
    number = 0
    while records:
        size = order.randint(1, 400)
        write_jsonl(folder / f"{number}.jsonl", records[:size])
        records, number = records[size:], number + 1
    return folder


def content(lake: Lake) -> tuple[Any, ...]:
    """What must not depend on order, files or kills."""
    reader = lake.reader()
    return (
        reader.execute("select doc_id, text, n_chars from raw.documents order by 1").fetchall(),
        reader.execute("select doc_id, source, url, metadata::varchar from raw.occurrences order by all").fetchall(),
    )


@pytest.mark.parametrize("seen", [1_000_000, 5])
def test_documents_do_not_depend_on_order_or_on_what_a_unit_remembers(tmp_path, monkeypatch, seen):
    monkeypatch.setattr("warehouse.ingest.unit.SEEN", seen)
    monkeypatch.setattr("warehouse.ingest.unit.ROW_GROUP", 2_000)
    records = [{"text": f"text {n % 300}", "source": f"s{n % 3}", "url": f"u{n}"} for n in range(1000)]
    results = []
    for seed in (1, 2):
        lake = Lake.create(tmp_path / f"lake{seed}")
        monkeypatch.setattr(run, "UNIT_FILES", seed)
        report = ingest(lake, find_inputs([str(shuffled(records, tmp_path / f"data{seed}", seed))]), IngestOptions())
        assert (report.rows, report.documents) == (1000, 300)
        assert_consistent(lake)
        results.append(content(lake))
    assert results[0] == results[1]


@pytest.mark.parametrize("last", ["other", "mine"])
def test_someone_elses_commit_between_decision_and_lock_is_noticed(lake, tmp_path, monkeypatch, last):
    mine = write_jsonl(tmp_path / "mine.jsonl", [{"text": text} for text in "abcd"])
    pending = [write_jsonl(tmp_path / f"{n}.jsonl", [{"text": text} for text in f"ab{n}"]) for n in range(3)]
    if last == "mine":
        pending[0] = mine  # the file itself, ingested by someone else
    commit = Lake.commit

    def overtaken(self: Lake, message: str, **options: Any) -> Any:
        if self is lake and pending:
            ingest(Lake.open(lake.root), find_inputs([str(pending.pop())]), IngestOptions())
        return commit(self, message, **options)

    monkeypatch.setattr(Lake, "commit", overtaken)
    [file] = ingest(lake, find_inputs([str(mine)]), IngestOptions()).files
    assert not pending
    assert (file.outcome, file.duplicates) == (("ingested", 2) if last == "other" else ("elsewhere", 0))
    assert_consistent(lake)


def test_processes_that_ingest_the_same_texts_at_once(lake, tmp_path):
    records = [{"text": f"text {n}", "source": f"s{n % 3}"} for n in range(2000)]
    shared = shuffled(records, tmp_path / "shared", 0)
    folders = [shuffled(records, tmp_path / f"own{n}", n) for n in (1, 2)]
    workers = [
        subprocess.Popen([sys.executable, "-c", INGEST, str(lake.root), str(shared), str(folder)], cwd=ROOT)
        for folder in folders
    ]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    assert_consistent(lake)
    reader = lake.reader()
    assert reader.execute("select count(*) from raw.documents").fetchall() == [(2000,)]
    assert reader.execute("select count(*) from raw.occurrences").fetchall() == [(6000,)]


@pytest.mark.parametrize("kills", [5, pytest.param(30, marks=pytest.mark.prove)])
def test_a_killed_ingest_loses_and_doubles_nothing(tmp_path, kills):
    records = [{"text": f"text {n % 2000} {'word ' * 40}", "url": f"u{n}", "source": f"s{n % 2}"} for n in range(4000)]
    data = shuffled(records, tmp_path / "data", 3)
    write_jsonl(data / "large.jsonl", [{**record, "url": f"large {record['url']}"} for record in records])
    (data / "bad.jsonl").write_bytes(b'{"text": "x"}\n{"text"\n')
    command = [sys.executable, "-c", INGEST]
    unbroken = Lake.create(tmp_path / "unbroken")
    started = time.monotonic()
    subprocess.run([*command, str(unbroken.root), str(data)], check=True, cwd=ROOT)
    whole = time.monotonic() - started
    lake = Lake.create(tmp_path / "lake")
    order = random.Random(kills)
    committed = 0
    for _ in range(kills):
        process = subprocess.Popen([*command, str(lake.root), str(data)], cwd=ROOT)
        time.sleep(order.uniform(0.3, 1.0) * whole)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert_consistent(lake)
        [(files,)] = lake.reader().execute("select count(*) from raw.files").fetchall()
        assert files >= committed
        committed = files
    subprocess.run([*command, str(lake.root), str(data)], check=True, cwd=ROOT)
    assert_consistent(lake)
    assert content(lake) == content(unbroken)
    assert not [path for path in (lake.root / "staging").iterdir() if path.name != "spill"]


def test_paths_that_do_not_exist_are_refused_with_what_is_near(tmp_path):
    (tmp_path / "documents.jsonl").touch()
    with pytest.raises(UsageError, match=r"did you mean documents\.jsonl"):
        find_inputs([str(tmp_path / "document.jsonl")])
    with pytest.raises(UsageError, match="nothing matches"):
        find_inputs([str(tmp_path / "*.parquet")])
    assert [entry.path.name for entry in find_inputs([str(tmp_path / "*.jsonl"), str(tmp_path)])] == ["documents.jsonl"]


def test_a_file_that_changes_while_it_is_read_is_left_for_the_next_run(lake, read, tmp_path, monkeypatch):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "x"}])
    real = run.detect

    def detect(changing: Path, **options: Any) -> Any:
        with changing.open("a") as handle:
            handle.write('{"text": "y"}\n')
        return real(changing, **options)

    monkeypatch.setattr(run, "detect", detect)
    assert [file.outcome for file in read(path).files] == ["unreadable"]
    assert_consistent(lake)
    monkeypatch.setattr(run, "detect", real)
    assert read(path).rows == 3 - 1


def test_the_command_says_what_it_did(tmp_path):
    def cuvee(*arguments: str) -> subprocess.CompletedProcess[str]:
        lake = ["--lake", str(tmp_path / "lake")]
        return subprocess.run([*CUVEE, *arguments, *lake], capture_output=True, text=True, cwd=ROOT, check=False)

    cuvee("init")
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "x"}, {"text": "x"}, {"body": 1}])
    result = json.loads(cuvee("ingest", str(path), "--json").stdout)
    assert (result["occurrences"], result["documents"], result["rejected"]) == (2, 1, 1)
    assert "1 file: already in the lake" in cuvee("ingest", str(path)).stdout
    assert "nothing new" in cuvee("ingest", str(path)).stdout
    strict = cuvee("ingest", str(write_jsonl(tmp_path / "b.jsonl", [{"text": 1}])), "--strict")
    assert (strict.returncode, "b.jsonl:1: text is a number" in strict.stderr) == (1, True)
    assert cuvee("ingest", str(tmp_path / "c.jsonl")).returncode == 2
    assert cuvee("ingest").returncode == 2
    (tmp_path / "locked.jsonl").symlink_to(tmp_path / "nowhere")
    assert cuvee("ingest", str(tmp_path / "locked.jsonl")).returncode == 2


#: The command, and then the most memory that its process ever had, in kB. (ru_maxrss counts the parent's, too.)
MEASURED = """
from pathlib import Path
from warehouse.cli.main import main
try:
    main()
finally:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    print(line.split()[1])
"""


def memory_of_ingest(folder: Path, lake: Lake) -> int:
    """The most memory that ingesting a folder takes, in kB."""
    if not Path("/proc/self/status").exists():
        pytest.skip("memory is measured in /proc")
    command = [sys.executable, "-c", MEASURED, "ingest", str(folder), "--lake", str(lake.root), "-q"]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


def test_a_document_of_200_mb_and_a_file_without_lines_stay_below_1_gb(tmp_path):
    words = json.dumps("".join(f"word {n} “é😀”\n" for n in range(1000)), ensure_ascii=False)[1:-1].encode()
    with (tmp_path / "giant.jsonl").open("wb") as out:
        out.write(b'{"id": 1, "text": "' + words * (200_000_000 // len(words)) + b'"}\n{"text": "after"}\n')
    with (tmp_path / "lineless.jsonl").open("wb") as out:
        out.write(b'{"text": "')
        for _ in range(60):
            out.write(words * (10_000_000 // len(words)))
        out.write(b'"}\n{"text": "after the long one"}\n')
    lake = Lake.create(tmp_path / "lake")
    assert memory_of_ingest(tmp_path, lake) < 1_000_000
    reader = lake.reader()
    assert reader.execute("select path.split('/')[-1], rows, rejected from raw.files order by 1").fetchall() == [
        ("giant.jsonl", 2, 0),
        ("lineless.jsonl", 1, 1),
    ]
    [(length, key)] = reader.execute(
        "select n_chars, doc_id from raw.documents order by n_chars desc limit 1"
    ).fetchall()
    text = json.loads(b'"' + words + b'"') * (200_000_000 // len(words))
    assert (length, key) == (len(text), doc_id(text))


def test_a_parquet_file_with_one_large_row_group_stays_below_1_gb(tmp_path):
    texts = pa.array([f"{n} {'word ' * 20_000}" for n in range(6000)])
    pq.write_table(pa.table({"text": texts}), tmp_path / "x.parquet", row_group_size=10_000, use_dictionary=False)
    lake = Lake.create(tmp_path / "lake")
    assert memory_of_ingest(tmp_path, lake) < 1_000_000
    assert lake.reader().execute("select count(*) from raw.documents").fetchall() == [(6000,)]


def test_a_known_file_with_rejects_is_not_passed_under_strict(lake, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\nno record\n')
    ingest(lake, find_inputs([str(tmp_path / "a.jsonl")]), IngestOptions())
    with pytest.raises(StrictError, match="1 of its records could not be read"):
        ingest(lake, find_inputs([str(tmp_path / "a.jsonl")]), IngestOptions(strict=True))
