"""The place in the data: kept from run to run on the same mixture, refused on another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.training.helpers import train
from tests.training.tiny_sweep import write_exports
from training.recipe.exports import Export, MixtureChangedError, Reading, find
from training.recipe.recipe import Recipe, read_recipe
from warehouse.lake.lake import Lake

pytest.importorskip("composer")
pytest.importorskip("streaming")

if TYPE_CHECKING:
    from training.run.run import Job


@pytest.fixture
def recipe(recipe_file: Path) -> Recipe:
    return read_recipe(recipe_file, ("trunk.warmup=0", "evaluation.samples=8", "model.layers=1"))


@pytest.fixture
def exports(tmp_path: Path, recipe: Recipe) -> dict[str, Export]:
    lake = Lake.create(tmp_path / "lake")
    write_exports(lake, tmp_path / "exports")
    return dict(find(lake, recipe))


def job(exports: dict[str, Export], folder: Path, steps: int, *, seed: int = 17, start: Path | None = None) -> Job:
    from training.run.run import Job

    return Job(folder, (Reading(exports["baseline"], steps),), exports["held_out"], steps, seed, start)


def test_an_anneal_on_the_trunks_mixture_and_seed_reads_on(
    tmp_path: Path, recipe: Recipe, exports: dict[str, Export]
) -> None:
    """Four batches of an epoch of eleven are the trunk's; the anneal goes on, into the next epoch, also when broken."""
    unbroken = train(job(exports, tmp_path / "unbroken", 16), recipe)
    trunk = job(exports, tmp_path / "trunk", 4)
    last = trunk.folder / "checkpoints" / "ba000000000004.pt"
    anneal = job(exports, tmp_path / "anneal", 12, start=last)
    assert train(trunk, recipe) + train(anneal, recipe) == unbroken
    for batch, path in ((12, 4), (12, 8)):
        for later in range(path + 4, batch + 1, 4):
            (anneal.folder / "checkpoints" / f"ba{later:012}.pt").unlink()
        assert train(anneal, recipe) == unbroken[4:]
    other = job(exports, tmp_path / "other", 4, seed=1, start=last)
    first = train(job(exports, tmp_path / "fresh", 4, seed=1), recipe)
    assert train(other, recipe) == first, "another seed is another order, from its beginning"


def test_a_sweep_may_open_as_many_files_as_the_machine_allows(tmp_path: Path) -> None:
    import resource

    from training.run import data

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[0], 512), before[1]))
    with data.exclusive_start():
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[1]


def test_a_place_in_another_mixture_is_refused(tmp_path: Path, recipe: Recipe, exports: dict[str, Export]) -> None:
    trunk = job(exports, tmp_path / "trunk", 2)
    train(trunk, recipe)
    with pytest.raises(MixtureChangedError, match=r"one in baseline .*, and upsampled .* is another mixture"):
        train(replace(trunk, readings=(Reading(exports["upsampled"], 4),), steps=4), recipe)
