"""What the tests of ingest share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from warehouse.ingest.inputs import find_inputs
from warehouse.ingest.records import Options
from warehouse.ingest.run import Report, ingest
from warehouse.lake.lake import Lake

Read = Callable[..., Report]


@pytest.fixture
def read(lake: Lake) -> Read:
    """Ingest paths into the test's lake."""

    def run(*paths: Path, **options: Any) -> Report:
        return ingest(lake, find_inputs([str(path) for path in paths]), Options(**options))

    return run


@pytest.fixture
def ask(lake: Lake) -> Callable[[str], list[tuple[Any, ...]]]:
    """Rows of a query over the test's lake."""
    return lambda query: lake.reader().execute(query).fetchall()


def write_jsonl(path: Path, records: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def doc_id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def assert_consistent(lake: Lake) -> None:
    """Every file's rows are its occurrences, every occurrence has its document exactly once, nothing is left over."""
    reader = lake.reader()
    faults = {
        "a file is there twice": "select file_id from raw.files group by 1 having count(*) > 1",
        "a document is there twice": "select doc_id from raw.documents group by 1 having count(*) > 1",
        "an occurrence without document": "from raw.occurrences anti join raw.documents using (doc_id)",
        "a document without occurrence": "from raw.documents anti join raw.occurrences using (doc_id)",
        "an occurrence without file": "from raw.occurrences anti join raw.files using (file_id)",
        "a reject without file": "from raw.rejects anti join raw.files using (file_id)",
        "a record is there twice": "from raw.occurrences group by file_id, position having count(*) > 1",
        "a file's rows are not its occurrences": "select file_id from raw.files left join (select file_id, count(*) n"
        " from raw.occurrences group by 1) using (file_id) where coalesce(n, 0) <> rows",
        "a file's rejects are not counted": "select file_id from raw.files left join (select file_id, count(*) n"
        " from raw.rejects group by 1) using (file_id) where coalesce(n, 0) <> rejected",
        "duplicates do not add up": "select 1 where (select coalesce(sum(rows - duplicates), 0) from raw.files)"
        " <> (select count(*) from raw.documents)",
        "an id that is not its text's": "from raw.documents where doc_id <> left(sha256(text), 32)",
        "a length that is not its text's": "from raw.documents where n_chars <> length(text)",
    }
    for fault, query in faults.items():
        query = query if query.startswith("select") else f"select 1 {query}"
        assert not reader.execute(query).fetchall(), fault
