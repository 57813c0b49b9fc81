"""cuvee forget: what is gone, what stays, and that it stays gone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.helpers import ROOT, SQL, doc_id, write_jsonl
from udfs.errors import UsageError
from udfs.tokens import tokenizer
from warehouse.build.build import build
from warehouse.cli.main import cli
from warehouse.forget.forget import ForgetRequest, plan
from warehouse.lake.lake import Lake
from warehouse.lake.maintenance import check, compact
from warehouse.mds.reader import read_folder

SECRET = 'A page that its author wants back: "naïve" accounts of a summer,\nwritten for friends only, and long enough.'
SHARED = "A page that two sites have, of which one asks to be left out of everything from today on."
OTHERS = [
    f"document {number}: something that everybody may keep reading for as long as they like" for number in range(40)
]
SHORT = "tiny"

MODELS = {
    "good.sql": "select doc_id, text from raw.documents",
    "previews.sql": "select left(text, 60) as preview, [upper(left(text, 3))] as tags from raw.documents",
    "wrapped.sql": "select {'page': '<p>' || text || '</p>'} as page from raw.documents where length(text) > 50",
    "labelled.sql": "select doc_id, label_document(text, 'fake').document_type_v2.primary as kind from raw.documents",
    "parts.sql": "select n_tokens(left(text, 40), 'demo') as n from raw.documents",
    "blend.sql": "select doc_id, 'all' as component, 1::bigint as copies, n_tokens(text, 'demo') as n_tokens"
    " from raw.documents",
}

#: Forgets, and is killed behind a step.
KILLED = """
import os, sys
from pathlib import Path
from warehouse.forget import forget
from warehouse.lake.lake import Lake
lake, name, step = sys.argv[1:]
inner = getattr(forget, step)
def killed(*arguments):
    inner(*arguments)
    os._exit(9)
setattr(forget, step, killed)
forget.forget(Lake.open(Path(lake)), forget.ForgetRequest.of([name], []))
"""


def run(lake: Lake, *arguments: str) -> Any:
    return CliRunner().invoke(cli, [*arguments, "--lake", str(lake.root)])


def forget(lake: Lake, *arguments: str) -> dict[str, Any]:
    done = run(lake, "forget", *arguments, "--json", "--quiet")
    assert done.exit_code == 0, (done.output, done.exception)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project, an export, and a lake that has the secret in all places: snapshots, models, shards …"""
    tmp_path = tmp_path_factory.mktemp("template")
    lake = Lake.create(tmp_path / "lake")
    project = tmp_path / "sql"
    (project / "models").mkdir(parents=True)
    (project / "seeds").mkdir()
    for name in ("taxonomy.csv", "fdc.csv"):
        (project / "seeds" / name).write_bytes((SQL / "seeds" / name).read_bytes())
    (project / "dbt_project.yml").write_text("name: p\nmodels: {p: {+materialized: table}}\n")
    for name, sql in MODELS.items():
        (project / "models" / name).write_text(sql)
    site = [{"text": text, "url": f"https://o.org/{n}", "source": "open"} for n, text in enumerate(OTHERS)]
    early, late = site[:20], site[20:]
    mine: list[dict[str, Any]] = [
        {"text": SECRET, "url": "https://me.org/summer", "source": "me", "note": "ask me first"},
        {"text": SHARED, "url": "https://me.org/both", "source": "me"},
        {"text": SHORT, "url": "https://me.org/tiny", "source": "me"},
        {"text": None, "body": SECRET, "url": "https://me.org/null"},  # is rejected, with the text in it
        {"text": None, "body": OTHERS[0], "url": "https://o.org/null"},
    ]
    assert run(lake, "ingest", str(write_jsonl(tmp_path / "early.jsonl", early))).exit_code == 0
    assert run(lake, "ingest", str(write_jsonl(tmp_path / "mine.jsonl", mine))).exit_code == 0
    assert (
        run(
            lake, "ingest", str(write_jsonl(tmp_path / "late.jsonl", [*late, {"text": SHARED, "source": "open"}]))
        ).exit_code
        == 0
    )
    trained = tokenizer.train(iter(OTHERS), lake.root / "tokenizers" / "demo", 400)
    with lake.commit("tokenizer") as commit:
        commit.sql("insert into cuvee.tokenizers values ('demo', ?, 400, '', 1, now())", [trained.fingerprint])
    assert not any(result.failed for result in build(lake, project))
    (project / "models" / "good.sql").write_text("select doc_id, text, 1 as version from raw.documents")
    assert not any(result.failed for result in build(lake, project))  # the first version lives on in a snapshot
    exported = run(lake, "export", "blend", "--out", str(tmp_path / "out"), "--format", "text")
    assert exported.exit_code == 0, exported.output
    (export_id, sample) = (
        lake.cursor()
        .execute("select export_id, sample_id from exports.samples where doc_id = ?", [doc_id(SECRET)])
        .fetchone()  # type: ignore[misc]
    )
    with lake.commit("a run") as commit:
        row = ["r1", "recipe", "arm", 1, None, "blend", export_id, 1, 10, "{}"]
        commit.sql("insert into runs.runs values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, now(), now())", row)
        commit.sql("insert into runs.batches values ('r1', 1, 0, [?::bigint]), ('r1', 2, 0, [99])", [sample])
    return tmp_path


@pytest.fixture
def full(template: Path, tmp_path: Path) -> Lake:
    """A copy of the template's lake, with its project beside it."""
    shutil.copytree(template / "sql", tmp_path / "sql")
    shutil.copytree(template / "lake", tmp_path / "lake")
    return Lake.open(tmp_path / "lake")


def places(lake: Lake, *needles: str) -> set[str]:
    """Files under the lake that have one of the needles, in their bytes or in what a reader makes of them."""
    found = set()
    for path in (path for path in lake.root.rglob("*") if path.is_file()):
        # Not opened here: a process that closes the catalog loses DuckDB's locks on it.
        contents = [subprocess.run(["cat", path], capture_output=True, check=True).stdout]
        if path.suffix == ".parquet":
            contents.append(repr(pq.read_table(path, partitioning=None).to_pylist()).encode())
        if path.name == "index.json":
            contents += [repr(batch.to_pylist()).encode() for batch in read_folder(path.parent)]
        for needle in needles:
            forms = (needle.encode(), json.dumps(needle).encode()[1:-1], repr(needle).encode()[1:-1])
            if any(form in content for form in forms for content in contents):
                found.add(path.relative_to(lake.root).as_posix())
    return found


def query(lake: Lake, sql: str) -> list[tuple[Any, ...]]:
    return lake.reader().execute(sql).fetchall()


def test_a_document_is_gone_from_every_byte_of_the_lake(full: Lake, template: Path, tmp_path: Path) -> None:
    pieces = (SECRET[:40], SECRET[-40:])
    before = places(full, *pieces)
    assert len(before) > 6
    assert {"catalog.sqlite"} <= {path.split("-")[0] for path in before}  # as the largest or smallest of a column
    planned = forget(full, doc_id(SECRET), "--plan")
    assert planned["forgotten"] is False
    assert places(full, *pieces) == before
    gone = {"raw.documents", "raw.occurrences", "raw.rejects", "labels.eai", "counts.n_tokens", "main.good"}
    assert set(planned["rows"]) == gone | {"main.previews", "main.wrapped", "main.labelled", "main.blend"}
    assert planned["documents"] == [doc_id(SECRET)]
    assert [export["path"] for export in planned["exports"]] == [str(template / "out")]
    assert [(seen["run_id"], seen["batches"]) for seen in planned["runs"]] == [("r1", 1)]
    assert planned["units"] == 1
    assert any(holder.startswith("export blend") for holder in planned["pins"].values())

    others = query(full, f"select * from raw.occurrences where doc_id <> '{doc_id(SECRET)}' order by all")
    done = forget(full, doc_id(SECRET), "--yes")
    assert done == {**planned, "forgotten": True}
    assert not places(full, *pieces, "me.org/summer")
    assert query(full, "select * from raw.occurrences order by all") == others
    assert query(full, "select count(*) from raw.documents") == query(full, "select count(*) from good") == [(42,)]
    assert query(full, "select count(*) from raw.rejects") == [(1,)]
    assert query(full, "select count(*) from previews") == [(42,)]
    found = check(full)
    assert not found.faults
    assert not found.orphans
    assert not any(result.failed for result in build(full, tmp_path / "sql"))
    assert not places(full, *pieces)


def test_snapshots_from_before_the_document_stay(full: Lake) -> None:
    came = query(full, "select min(snapshot_id) from lake.snapshots() where commit_message like '%mine.jsonl%'")[0][0]
    with full.commit("pin") as commit:
        commit.pin("an early export", came - 1)
        commit.pin("a later export", came)
    done = forget(full, doc_id(SECRET), "--yes")
    assert done["pins"][str(came)] == "a later export"
    assert query(full, "select holder from cuvee.pins") == [("an early export",)]
    assert came - 1 in {snapshot.snapshot_id for snapshot in full.snapshots()}
    assert len(query(full, f"from raw.documents at (version => {came - 1})")) == 20


def test_a_url_or_a_source_takes_places_and_documents_only_with_their_last(full: Lake) -> None:
    done = forget(full, "https://me.org/both", "--yes")
    assert (done["documents"], done["kept"], done["occurrences"]) == ([], 1, 1)
    assert query(full, f"select source from raw.occurrences where doc_id = '{doc_id(SHARED)}'") == [("open",)]
    assert not places(full, "https://me.org/both")
    done = forget(full, "--source", "me", "--yes")
    assert done["documents"] == sorted([doc_id(SECRET), doc_id(SHORT)])
    assert query(full, "select count(*) from raw.occurrences where source = 'me'") == [(0,)]
    assert query(full, f"select count(*) from raw.documents where doc_id = '{doc_id(SHARED)}'") == [(1,)]
    assert not places(full, SECRET[:40], "https://me.org/summer", "ask me first")


def test_what_is_forgotten_does_not_come_back(full: Lake, tmp_path: Path) -> None:
    forget(full, doc_id(SECRET), "--yes")
    again = write_jsonl(tmp_path / "again.jsonl", [{"text": text} for text in (SECRET, "something new", SECRET)])
    done = json.loads(run(full, "ingest", str(again), "--json", "--quiet").stdout)
    assert (done["occurrences"], done["documents"], done["forgotten"]) == (1, 1, 2)
    assert done["files"][0]["duplicates"] == 0
    assert not places(full, SECRET[:40])
    assert query(full, "select rows, duplicates from raw.files where path like '%again.jsonl'") == [(1, 0)]


PROVED = [pytest.param(step, marks=pytest.mark.prove) for step in ("_rewrite", "_expire", "_clean")]


@pytest.mark.parametrize("step", ["_remove", "_drop_units", *PROVED])
def test_a_killed_forget_is_finished_by_the_same_command(full: Lake, step: str) -> None:
    url = "https://me.org/summer"
    compact(full)  # files of several snapshots in one
    command = [sys.executable, "-c", KILLED, str(full.root), url, step]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 9
    forget(full, url, "--yes")
    assert not places(full, SECRET[:40], SECRET[-40:], url)
    assert not check(full).faults
    with pytest.raises(UsageError, match="no document in the lake has the URL"):
        plan(full, ForgetRequest.of([url], []))


def test_what_is_not_there_is_said_and_nothing_happens_unasked(full: Lake) -> None:
    before = full.snapshot()
    for arguments, message in (
        (["f" * 32], "no document ffff"),
        (["https://nobody.org"], "has the URL"),
        ([doc_id(SECRET), "e" * 32], "no document eeee"),
        (["--source", "opne"], "did you mean open"),
        ([], "nothing to forget"),
        ([doc_id(SECRET)], "cannot be undone"),
    ):
        done = run(full, "forget", *arguments)
        assert isinstance(done.exception, UsageError)
        assert message in str(done.exception)
    assert full.snapshot() == before
