"""Dolma's attribute files: what is read stands beside its document, what is written fits Dolma's documents."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from udfs.errors import UsageError
from warehouse.cli.main import cli
from warehouse.lake.lake import Lake


def run(lake: Lake, *arguments: str) -> Any:
    done = CliRunner().invoke(cli, [*arguments, "--lake", str(lake.root), "--json", "--quiet"])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return json.loads(done.stdout)


def query(lake: Lake, sql: str) -> list[tuple[Any, ...]]:
    return lake.reader().execute(sql).fetchall()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


@pytest.fixture
def dolma(lake: Lake, shared_data: Path, tmp_path: Path) -> Path:
    """Dolma's own documents, in the folder that its tools want, ingested."""
    folder = tmp_path / "dolma" / "documents" / "cc"
    folder.mkdir(parents=True)
    shutil.copy(shared_data / "web" / "cc_dolma_docs.jsonl.gz", folder / "0000.jsonl.gz")
    run(lake, "ingest", str(folder))
    return tmp_path / "dolma"


def test_what_is_written_comes_back(lake: Lake, dolma: Path) -> None:
    documents = lines(dolma / "documents" / "cc" / "0000.jsonl.gz")
    scores = "select doc_id, n_chars / 3.0 as third, n_chars > 2000 as long, n_chars, text from raw.documents"
    (written,) = run(lake, "attributes", "write", "size", "--from", scores)
    path = dolma / "attributes" / "size" / "cc" / "0000.jsonl.gz"
    assert written == {"file": str(path), "lines": len(documents), "with_attributes": len(documents)}
    made = lines(path)
    assert [line["id"] for line in made] == [document["id"] for document in documents]  # line by line
    for line, document in zip(made, documents, strict=True):
        n = len(document["text"])
        expected = {"size__third": [[0, n, n / 3]], "size__long": [[0, n, int(n > 2000)]], "size__n_chars": [[0, n, n]]}
        assert line["attributes"] == expected
        assert f"[0,{n}," in json.dumps(line, separators=(",", ":"))  # offsets are whole numbers
    (read,) = run(lake, "attributes", "read", str(path))
    assert (read["documents"], read["spans"], read["rejected"]) == (len(documents), 3 * len(documents), 0)
    joined = query(
        lake, "select text, value from raw.attributes join raw.documents using (doc_id) where attribute = 'size__third'"
    )
    assert dict(joined) == {d["text"]: len(d["text"]) / 3 for d in documents}

    before = path.read_bytes()
    (again,) = run(lake, "attributes", "write", "size", "--from", scores)
    assert (again, path.read_bytes()) == (written, before)
    assert run(lake, "attributes", "read", str(path))[0]["unchanged"] is True
    (copied,) = run(lake, "attributes", "write", "copy", "--from", "raw.attributes", "--out", str(dolma / "other"))
    assert copied["file"] == str(dolma / "other" / "attributes" / "copy" / "0000.jsonl.gz")
    assert lines(Path(copied["file"])) == [
        {"id": line["id"], "attributes": dict(sorted(line["attributes"].items()))} for line in made
    ]


def test_spans_of_many_kinds_and_records_that_are_none(lake: Lake, dolma: Path, tmp_path: Path) -> None:
    documents = lines(dolma / "documents" / "cc" / "0000.jsonl.gz")
    first, second = documents[0]["id"], documents[1]["id"]
    records = [
        {"id": first, "attributes": {"toxic": [[0, 5, 0.25], [5, 9, 1]], "empty": []}},
        {"id": "nobody", "attributes": {"toxic": [[0, 1, 1.0]]}},
        {"id": second, "attributes": {"toxic": [["a", 1, 1.0]]}},
        {"id": second},
        {"id": second, "attributes": {}},
    ]
    path = tmp_path / "attributes.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + "{oops\n")
    (read,) = run(lake, "attributes", "read", str(path))
    assert (read["documents"], read["spans"], read["rejected"]) == (1, 2, 4)
    doc_id = hashlib.sha256(documents[0]["text"].encode()).hexdigest()[:32]
    assert query(lake, "select doc_id, attribute, start_char, end_char, value from raw.attributes order by 3") == [
        (doc_id, "toxic", 0, 5, 0.25), (doc_id, "toxic", 5, 9, 1.0)
    ]  # fmt: skip
    rejected = query(
        lake,
        "select position, reason from raw.rejects join raw.files using (file_id)"
        " where format = 'attributes' order by position",
    )
    assert [position for position, _ in rejected] == [2, 3, 4, 6]
    assert rejected[0][1] == "no documents have this id"

    path.write_text(json.dumps({"id": first, "attributes": {"toxic": [[0, 5, 0.5]]}}) + "\n")
    run(lake, "attributes", "read", str(path))
    assert query(lake, "select value from raw.attributes") == [(0.5,)]  # the file's last word


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("select text from raw.documents", "has no column doc_id"),
        ("select doc_id, text from raw.documents", "has no attributes"),
        ("scoers", "nothing in the lake to write attributes of"),
        ("select doc_id, 1 as one from raw.documents where false", "no file below a folder `documents`"),
    ],
)
def test_what_cannot_be_written_is_told(lake: Lake, dolma: Path, source: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(lake, "attributes", "write", "x", "--from", source)
