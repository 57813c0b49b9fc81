"""Fixtures of the warehouse."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.helpers import PROJECTS


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Copy the shop, a small dbt project."""
    return Path(shutil.copytree(PROJECTS / "shop", tmp_path / "shop"))
