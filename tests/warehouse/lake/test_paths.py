"""A lake's path is a path: folders like ``id=5`` above it are no columns."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.helpers import ROOT
from tests.warehouse.helpers import build
from warehouse.cli.main import cli
from warehouse.lake.lake import Lake

FOLDERS = "id=5/source=abc/url=x/date=2024-01-01"


def test_parquet_is_read_by_one_function() -> None:
    found = [
        str(path.relative_to(ROOT))
        for package in ("warehouse", "training", "udfs")
        for path in sorted((ROOT / package).rglob("*.py"))
        if re.search(r"(?<!def )\bread_parquet\(|read_table\((?!.*partitioning=None)", path.read_text())
    ]
    assert found == ["warehouse/lake/parquet.py"]


@pytest.mark.parametrize("strategy", ["delete+insert", "merge"])
def test_rows_are_replaced_by_their_own_key(shop: Path, tmp_path: Path, strategy: str) -> None:
    lake = Lake.create(tmp_path / FOLDERS / "lake")
    head = f"{{{{ config(materialized='incremental', unique_key='id', incremental_strategy='{strategy}') }}}}"
    for value in ("old", "new"):
        (shop / "models" / "keyed.sql").write_text(f"{head}\nselect 7 as id, '{value}' as v")
        assert build(lake, shop, "keyed")["keyed"].status == "built"
    assert lake.cursor().sql("select * from main.keyed").fetchall() == [(7, "new")]


def test_documents_are_ingested_and_forgotten(tmp_path: Path) -> None:
    lake = Lake.create(tmp_path / FOLDERS / "lake")
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "a text", "url": "http://a", "source": "web"}) + "\n")
    for command in (["ingest", str(tmp_path / "a.jsonl")], ["forget", "http://a", "--yes"]):
        done = CliRunner().invoke(cli, [*command, "--lake", str(lake.root)])
        assert done.exit_code == 0, done.output + str(done.exception)
        rows = lake.cursor().sql("select source, url from raw.occurrences").fetchall()
        assert rows == ([("web", "http://a")] if command[0] == "ingest" else [])
