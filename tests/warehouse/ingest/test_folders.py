"""Folders whose files are not all documents: data sets, tables with a log, links."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.helpers import write_jsonl
from warehouse.cli.main import cli
from warehouse.ingest.inputs import find_inputs
from warehouse.lake.lake import Lake

CARD = """---
license: mit
configs:
- config_name: wiki
  data_files:
  - split: train
    path: wiki/part-*.parquet
  - split: test
    path: ["held/*.parquet"]
- config_name: default
  data_files: books/**
---
# A card
"""


def run(lake: Lake, *arguments: str) -> Any:
    return CliRunner().invoke(cli, ["ingest", *arguments, "--lake", str(lake.root), "--json"])


def parquet(path: Path, *texts: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": list(texts)}), path)
    return path


def sources(ask: Any) -> list[tuple[str, str]]:
    return ask("select text, source from raw.occurrences join raw.documents using (doc_id) order by 1")


def cache_of(tmp_path: Path) -> Path:
    """Make what huggingface_hub's cache looks like: blobs, links to them, two revisions."""
    home = tmp_path / "hub" / "datasets--org--corpus"
    for revision, texts in (("aaa", ("old", "de")), ("bbb", ("en", "de"))):
        for number, (config, text) in enumerate(zip(("en", "de"), texts, strict=True)):
            blob = parquet(home / "blobs" / f"{revision}{number}", text)
            link = home / "snapshots" / revision / config / "train-00000-of-00001.parquet"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(blob)
        (home / "snapshots" / revision / "README.md").write_text("# corpus")
        (home / "snapshots" / revision / "LICENSE").write_text("free")
        parquet(home / "snapshots" / revision / "data" / "test-00000-of-00001.parquet", "t")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("bbb")
    return home


@pytest.mark.parametrize("where", ["", "datasets--org--corpus", "datasets--org--corpus/snapshots/bbb"])
def test_a_cache_of_the_hub_gives_the_data_of_one_revision(read, ask, tmp_path, where):
    cache_of(tmp_path)
    report = read(tmp_path / "hub" / where)
    assert sources(ask) == [("de", "corpus/de/train"), ("en", "corpus/en/train"), ("t", "corpus/test")]
    assert {file.note for file in report.files if file.outcome == "left out"} >= {
        "files of a data set that hold no data"
    }
    assert report.count("left out") == 2 + (where != "datasets--org--corpus/snapshots/bbb")


def test_a_repository_says_itself_what_its_files_are(read, ask, tmp_path):
    root = tmp_path / "corpus"
    for name in ("wiki/part-1.parquet", "held/x.parquet", "books/a/b.parquet", "more/valid-00000-of-00001.parquet"):
        parquet(root / name, name)
    (root / "README.md").write_text(CARD)
    (root / "LICENSE").write_text("free")
    (root / "corpus.py").write_text("print('a loading script')")
    (root / ".gitattributes").write_text("*.parquet filter=lfs")
    report = read(root)
    assert sources(ask) == [
        ("books/a/b.parquet", "corpus"),
        ("held/x.parquet", "corpus/wiki/test"),
        ("more/valid-00000-of-00001.parquet", "corpus/more/valid"),
        ("wiki/part-1.parquet", "corpus/wiki/train"),
    ]
    assert report.count("left out") == 3


@pytest.mark.parametrize("table", ["Delta", "Iceberg", "Hudi"])
def test_a_table_with_a_log_is_refused_by_name_and_the_rest_is_read(lake, ask, tmp_path, table):
    root = tmp_path / "all" / "table"
    path = parquet(root / "data" / "day=1" / "part-0.parquet", "removed")
    log = {"Delta": "data/_delta_log/0.json", "Iceberg": "metadata/v1.metadata.json", "Hudi": "data/.hoodie/x"}[table]
    (root / log).parent.mkdir(parents=True)
    (root / log).write_text("{}")
    write_jsonl(tmp_path / "all" / "x.jsonl", [{"text": "kept"}])
    done = run(lake, str(tmp_path / "all"))
    assert done.exit_code == 1
    assert f"{table} table" in str(done.exception)
    assert sources(ask) == [("kept", "x")]
    for named in (str(path), f"{path.parent}/*.parquet"):
        assert f"{table} table" in str(run(lake, named).exception)
    assert sources(ask) == [("kept", "x")]


def test_links_that_lead_outside_are_read_only_if_asked(lake, ask, tmp_path):
    outside = write_jsonl(tmp_path / "secret.jsonl", [{"text": "outside"}])
    root = tmp_path / "root"
    root.mkdir()
    inside = write_jsonl(root / "a.jsonl", [{"text": "inside"}])
    (root / "b.jsonl").symlink_to(outside)
    (root / "c.jsonl").symlink_to(inside)
    (root / "gone.jsonl").symlink_to(root / "nothing")
    done = run(lake, str(root))
    assert done.exit_code == 0
    assert json.loads(done.stdout)["left_out"] == 1
    assert sources(ask) == [("inside", "a")]
    assert run(lake, str(root), "--follow-links").exit_code == 0
    assert [text for text, _ in sources(ask)] == ["inside", "outside"]
    assert not find_inputs([str(root / "b.jsonl")])[0].left_out


def test_an_ingest_of_which_everything_is_rejected_fails(lake, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"body": 1}\noops\n')
    done = run(lake, str(path))
    assert done.exit_code == 1
    assert "everything was rejected: 2 records" in str(done.exception)
    path.write_text('{"text": "a"}\noops\n')
    assert run(lake, str(path)).exit_code == 0


def test_reasons_that_are_not_shown_are_counted(lake, tmp_path):
    path = tmp_path / "x.jsonl"
    lines = [f'{{"f{number}": 1}}\n' * (30 - number) for number in range(14)]
    path.write_text('{"text": "a"}\n' + "".join(lines))
    done = CliRunner().invoke(cli, ["ingest", str(path), "--lake", str(lake.root)])
    hidden = sum(30 - number for number in range(10, 14))
    assert f"and 4 more reasons, {hidden} rejected; --json lists all" in done.output
