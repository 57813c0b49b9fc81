"""What the tests of ingest share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from warehouse.ingest.inputs import find_inputs
from warehouse.ingest.records import IngestOptions
from warehouse.ingest.run import IngestReport, ingest
from warehouse.lake.lake import Lake

Read = Callable[..., IngestReport]


@pytest.fixture
def read(lake: Lake) -> Read:
    """Ingest paths into the test's lake."""

    def run(*paths: Path, **options: Any) -> IngestReport:
        return ingest(lake, find_inputs([str(path) for path in paths]), IngestOptions(**options))

    return run


@pytest.fixture
def ask(lake: Lake) -> Callable[[str], list[tuple[Any, ...]]]:
    """Rows of a query over the test's lake."""
    return lambda query: lake.reader().execute(query).fetchall()
