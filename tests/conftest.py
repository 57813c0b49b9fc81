"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from warehouse.lake import Lake

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the full counts to `make prove`."""
    if os.environ.get("CUVEE_PROVE"):
        return
    skip = pytest.mark.skip(reason="runs with `make prove`")
    for item in items:
        if item.get_closest_marker("prove"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real documents that the project does not carry. Absent in a stranger's clone: skip, but never in CI."""
    folder = Path(os.environ.get("CUVEE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        message = f"no test data at {folder}; point CUVEE_TEST_DATA at it"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A new, empty lake."""
    return Lake.create(tmp_path / "lake")
