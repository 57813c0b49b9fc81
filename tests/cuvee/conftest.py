"""A small lake with a project of two models, which the examples of the docstrings and the tests read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import cuvee
from tests.cuvee.kitchen import PROJECT, TEXTS
from tests.helpers import write


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with the project and its lake of three documents, built."""
    pandas = pytest.importorskip("pandas")
    folder = write(tmp_path_factory.mktemp("built"), PROJECT)
    with cuvee.connect(folder / "lake", create=True, project=folder, quiet=True) as opened:
        opened.ingest(pandas.DataFrame({"text": TEXTS}), source="kitchen")
        opened.build()
    return folder


@pytest.fixture
def lake(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> cuvee.Warehouse:
    """Open a copy of the lake; it and its project are in the working folder."""
    monkeypatch.chdir(shutil.copytree(built, tmp_path, dirs_exist_ok=True))
    monkeypatch.delenv("CUVEE_LAKE", raising=False)
    return cuvee.connect("lake", quiet=True)
