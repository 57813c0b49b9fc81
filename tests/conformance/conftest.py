"""The peer that the tests of this folder need."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.peer import find_dbt


@pytest.fixture(scope="module")
def dbt() -> Path:
    """The dbt whose results Cuvée's are compared with, 1.11."""
    return find_dbt("CUVEE_DBT", ".venv-dbt")
