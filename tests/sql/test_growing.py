"""Models over all documents to which rows are only added: in several builds they become what one build makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.helpers import doc_id, write, write_jsonl
from warehouse.build.build import build
from warehouse.forget.forget import ForgetRequest, forget
from warehouse.ingest.inputs import find_inputs
from warehouse.ingest.records import IngestOptions
from warehouse.ingest.run import ingest
from warehouse.lake.lake import Lake
from warehouse.project.options import Selection

MODELS = ("document_signals", "document_scores")
TEXTS = [f"Page {n} says {n * 'something and '} nothing else that would matter to anybody." for n in range(8)]


def add(lake: Lake, folder: Path, name: str, texts: list[str]) -> None:
    file = write_jsonl(folder / f"{name}.jsonl", [{"text": text} for text in texts])
    ingest(lake, find_inputs([str(file)]), IngestOptions(source="web"))


def built(lake: Lake, root: Path) -> dict[str, list[tuple[Any, ...]]]:
    results = build(lake, root, Selection(MODELS))
    assert not [(each.name, each.message) for each in results if each.failed]
    return {name: lake.cursor().execute(f"from main.{name} order by doc_id").fetchall() for name in MODELS}


def files(lake: Lake, model: str) -> set[str]:
    found = lake.cursor().execute(f"select data_file from ducklake_list_files('lake', '{model}')").fetchall()
    return {path for (path,) in found}


def test_rows_are_added_and_none_is_written_twice(lake: Lake, tmp_path: Path) -> None:
    root = write(
        tmp_path / "p", {"dbt_project.yml": "name: p\n", "models/mine.sql": "from {{ ref('quality_filter') }}"}
    )
    add(lake, tmp_path, "one", TEXTS[:5])
    built(lake, root)
    before = {name: files(lake, name) for name in MODELS}
    add(lake, tmp_path, "two", TEXTS[5:])
    built(lake, root)
    assert all(before[name] < files(lake, name) for name in MODELS)
    forget(lake, ForgetRequest.of([doc_id(TEXTS[0])], ()))
    whole = Lake.create(tmp_path / "whole")
    add(whole, tmp_path, "whole", TEXTS[1:])
    assert built(lake, root) == built(whole, root)
