"""The peer that the tests of this folder need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers import ROOT, absent


@pytest.fixture(scope="module")
def dbt() -> Path:
    """dbt's command. `make test` installs it; elsewhere its absence is a reason to skip."""
    command = Path(os.environ.get("CUVEE_PEERS", ROOT / ".venv-peers")) / "bin" / "dbt"
    if not command.exists():
        absent(f"no dbt at {command}: make test installs it")
    return command
