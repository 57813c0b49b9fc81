"""cuvee label and cuvee labels, as people call them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.helpers import SQL, write
from tests.warehouse.helpers import build
from udfs.errors import CuveeError, UsageError
from warehouse.cli.labels.label import label
from warehouse.cli.labels.labels import labels
from warehouse.cli.lake.ingest import ingest
from warehouse.lake.lake import Lake


def run(command: Any, *arguments: str | Path, stdin: str | bytes | None = None) -> Any:
    """A command's result. Mistakes are raised."""
    return CliRunner().invoke(command, [str(each) for each in arguments], input=stdin, catch_exceptions=False)


def test_a_document_gets_the_labels_that_a_build_stores(lake: Lake, tmp_path: Path) -> None:
    text = "Boil the pasta\nin salted water.\n"
    (tmp_path / "d.jsonl").write_text(json.dumps({"text": text}) + "\n")
    run(ingest, tmp_path / "d.jsonl", "--lake", lake.root)
    model = "select doc_id, label_document(text, 'fake') as label from raw.documents"
    root = write(tmp_path / "p", {"dbt_project.yml": "name: p\nmodels: {+materialized: table}", "models/m.sql": model})
    (root / "seeds").symlink_to(SQL / "seeds")
    build(lake, root)
    before = lake.snapshot()
    ((shown,),) = (
        json.loads(run(label, "-", "--labeler", "fake", "--project-dir", root, "--json", stdin=text).stdout)
        for _ in "1"
    )
    assert lake.snapshot() == before, "nothing is stored"
    stored, doc_id, raw, tokens = (
        lake.reader()
        .execute("select m.label, m.doc_id, s.raw, s.tokens from m join labels.eai as s using (doc_id)")
        .fetchone()
    )  # type: ignore[misc]
    assert shown["doc_id"] == doc_id
    assert {
        name: {rank: each[rank] for rank in ("primary", "secondary")} for name, each in shown["labels"].items()
    } == stored
    assert (shown["prompts"][0]["answer"], shown["tokens"], shown["status"]) == (raw, tokens, "ok")
    assert shown["prompts"][0]["messages"] == [{"role": "user", "content": text}]
    (known,) = [
        each for each in json.loads(run(labels, "--lake", lake.root, "--json").stdout) if each["labeler"] == "fake"
    ]
    assert known["answers"] == {"ok": 1, "partial": 0, "unparsed": 0, "error": 0}
    assert known["versions"][0]["tokens"] == tokens


def test_several_files_are_shown_for_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no project, no lake
    (tmp_path / "one.txt").write_text("A recipe \x1b[31m in red.")
    (tmp_path / "two.txt").write_text("")
    shown = run(label, "one.txt", "two.txt", "--labeler", "fake").stdout
    assert "one.txt: 22 characters" in shown
    assert "A recipe \\x1b[31m in red." in shown
    assert "\x1b" not in shown
    assert "--- answer ---" in shown
    assert "two.txt: 0 characters" in shown
    assert "-1 abstains" in shown


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file: nowhere"):
        run(label, "nowhere")
    with pytest.raises(UsageError, match=r"(?s)no labeler 'fak'.*did you mean fake"):
        run(label, "-", "--labeler", "fak", stdin="text")
    with pytest.raises(CuveeError, match="standard input: is not valid UTF-8: byte 0xff at offset 1"):
        run(label, "-", "--labeler", "fake", stdin=b"a\xff")


def test_labels_are_ingested_and_listed(lake: Lake, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text(f"doc_id,document_type_v1\n{'a' * 32},News/Editorial\n{'b' * 32},Newz\nc,1\n")
    arguments = ("--labels", path, "--labeler", "people", "--lake", lake.root, "--json")
    (report,) = json.loads(run(ingest, *arguments).stdout)
    assert (report["documents"], report["statuses"], report["rejected"]) == (2, {"partial": 1, "unparsed": 1}, 1)
    assert report["not_in_lake"] == 2
    (again,) = json.loads(run(ingest, *arguments).stdout)
    assert again["unchanged"]
    shown = run(labels, "--lake", lake.root).stdout
    assert "from outside" in shown
    with pytest.raises(UsageError, match="--labels needs --labeler NAME"):
        run(ingest, "--labels", path, "--lake", lake.root)
    with pytest.raises(UsageError, match="fake is a labeler"):
        run(ingest, "--labels", path, "--labeler", "fake", "--lake", lake.root)
    with pytest.raises(UsageError, match="did you mean eai"):
        run(ingest, "--labels", path, "--labeler", "who", "--taxonomy", "eia", "--lake", lake.root)


def test_errors_that_were_asked_again_count_once(lake: Lake) -> None:
    with lake.commit("a store") as commit:
        commit.sql(
            "create table labels.x as select * from (values"
            " ('d1', 'm', 'f', 'error', null, null, 5::bigint, timestamptz '2026-01-01 10:00:00Z'),"
            " ('d2', 'm', 'f', 'ok', null, null, 7, timestamptz '2026-01-01 10:00:00Z'),"
            " ('d1', 'm', 'f', 'ok', null, null, 5, timestamptz '2026-01-01 10:00:02Z'),"
            " ('d3', 'm', 'f', 'ok', null, null, 5, timestamptz '2026-01-01 10:00:04Z'),"
            " ('d4', 'm', 'f', 'error', null, null, 5, timestamptz '2026-01-02 10:00:00Z')"
            ") as t(doc_id, labeler, fingerprint, status, kind, raw, tokens, labelled_at)"
        )
    (known,) = [
        each for each in json.loads(run(labels, "--lake", lake.root, "--json").stdout) if each["labeler"] == "m"
    ]
    assert known["answers"] == {"ok": 3, "partial": 0, "unparsed": 0, "error": 1}
    assert known["versions"][0]["tokens"] == 27
    assert known["documents_per_second"] == 0.5
    assert known["taxonomy"] == "x"
