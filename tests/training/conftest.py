"""Fixtures of the tests of training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.tiny_sweep import RECIPE


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """A recipe of 5 runs of 16 batches each, with a checkpoint every 4; an epoch has 11 batches or 10."""
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """On a busy machine the threads of so small a model wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
