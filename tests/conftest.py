"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from warehouse.lake import Lake

ROOT = Path(__file__).resolve().parent.parent


#: Tests that read with StreamingDataset. Two processes that start one at the same moment may choose the same block of
#: shared memory, so these tests run in one process, one after the other.
STREAMING = ("tests/test_readme.py", "tests/training", "tests/warehouse/export", "tests/warehouse/test_mds.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together what one process must run, a file's tests at least, and leave the full counts to `make prove`."""
    for item in items:
        path = item.path.relative_to(ROOT).as_posix()
        group = "streaming" if path.startswith(STREAMING) else path
        item.add_marker(pytest.mark.xdist_group(group))
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
