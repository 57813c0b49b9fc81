"""Runs and commands as the tests of training make them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.helpers import CUVEE
from tests.training.tiny_sweep import language
from training.recipe.recipe import Recipe

if TYPE_CHECKING:
    from training.run.run import Job


#: One thread: sums do not depend on how a busy machine shares its cores.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "HF_HUB_OFFLINE": "1"}
HELD_OUT = language(11, 24, vocabulary=300)


def cuvee(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CUVEE, *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=500
    )


def anneal(folder: Path, kind: str, name: str = "", model: str = "") -> subprocess.CompletedProcess[str]:
    settings = ("--set", model or f"model.kind={kind}", "--set", "seeds=[1]")
    return cuvee(
        folder,
        *("anneal", "tiny.yaml", "--out", f"runs/{name or kind}", *settings),
        *("--set", "arms={control: baseline}", "--set", "trunk.tokens=4096", "--set", "anneal.tokens=2048"),
        *("--set", "microbatch=3", "--set", "checkpoints.every=1024", "--set", "boundaries=false"),
    )


class Silent:
    """Progress that nobody watches."""

    def advance(self, amount: float = 1, note: str | None = None) -> None:
        """Count nothing."""


def train(one: Job, recipe: Recipe) -> list[list[int]]:
    """Train a job; return the samples of each batch."""
    from training.run import journal, run

    run.train(one, recipe, Silent())
    found: list[list[int]] = journal.read(one.folder / "batches", journal.BATCHES)["sample_ids"].to_pylist()
    return found
