"""What others publish: shards of tokens, files at URLs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner

from tests.helpers import write_jsonl
from tests.warehouse.ingest.helpers import assert_consistent
from udfs.tokens import tokenizer
from warehouse.cli.main import cli
from warehouse.lake.lake import Lake

TEXTS = [f"book {number}: a chapter about shards, samples and streams — naïve, and long enough" for number in range(30)]


def run(lake: Lake, *arguments: str) -> Any:
    return CliRunner().invoke(cli, ["ingest", *arguments, "--lake", str(lake.root), "--json", "--quiet"])


def test_shards_of_tokens_become_texts_by_their_tokenizer(lake: Lake, tmp_path: Path, ask: Any) -> None:
    from streaming import MDSWriter

    bpe = tokenizer.train(iter(TEXTS), tmp_path / "tokenizer", 400)
    for folder, part in (("books_0000", TEXTS[:20]), ("books_0001", TEXTS[20:])):
        out = str(tmp_path / "data" / "train" / "books" / folder)
        with MDSWriter(columns={"id": "str", "input_ids": "ndarray:uint32"}, out=out) as writer:
            for number, ids in enumerate(bpe.encode_batch(part)):
                ended = np.append(ids, bpe.end_of_text).astype(np.uint32)
                writer.write({"id": f"{folder}-{number}", "input_ids": ended})
    done = run(lake, str(tmp_path / "data"))
    assert "--tokenizer makes text of tokens" in next(iter(json.loads(done.stdout)["reasons"]))
    done = json.loads(run(lake, str(tmp_path / "data"), "--tokenizer", str(tmp_path / "tokenizer")).stdout)
    assert (done["documents"], done["rejected"]) == (30, 0)
    assert sorted(text for (text,) in ask("select text from raw.documents")) == sorted(TEXTS)
    assert ask("select distinct source from raw.occurrences order by all") == [("books_0000",), ("books_0001",)]
    assert ask("select count(*) from raw.occurrences where source_id = 'books_0001-9'") == [(1,)]
    again = json.loads(run(lake, str(tmp_path / "data"), "--tokenizer", str(tmp_path / "tokenizer")).stdout)
    assert again["ingested"] == 0


def test_files_at_a_url_are_read_once_and_named_by_it(lake: Lake, tmp_path: Path, ask: Any, shared_data: Path) -> None:
    remote = fsspec.filesystem("memory")
    local = write_jsonl(tmp_path / "pages.jsonl", [{"text": text} for text in TEXTS])
    remote.put(str(local), "/published/web/pages.jsonl")
    remote.put(str(shared_data / "mds" / "streaming-writer" / "text_plain"), "/published/mds/part_1", recursive=True)
    done = json.loads(run(lake, "memory://published").stdout)
    assert done["rejected"] == 0
    assert {file["path"] for file in done["files"]} == {
        "memory://published/web/pages.jsonl", "memory://published/mds/part_1"
    }  # fmt: skip
    assert ask("select source, count(*) from raw.occurrences where source = 'pages' group by 1") == [("pages", 30)]
    assert ask("select count(*) from raw.occurrences join raw.files using (file_id) where format = 'mds'") == [(120,)]
    assert json.loads(run(lake, "memory://published").stdout)["known"] == 2
    assert json.loads(run(lake, "memory://published/web/pages.jsonl").stdout)["known"] == 1
    assert not list((lake.root / "staging").glob("*/*"))
    assert_consistent(lake)


def test_a_url_that_cannot_be_read_is_told(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for url, message in (
        ("hf://datasets/nobody/nothing", "cannot read hf://datasets/nobody/nothing"),
        ("memory://empty/place", "nothing at|cannot read"),
        ("nosuch://bucket/file", "cannot (read|open)"),
    ):
        done = run(lake, url)
        assert done.exit_code != 0
        with pytest.raises(type(done.exception), match=message):
            raise done.exception
