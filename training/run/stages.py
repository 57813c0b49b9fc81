"""Several mixtures in a row within one run: to Composer one dataset, read once.

Its place is a stage and a place in that stage's mixture, and both follow from the number of samples that were read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from composer.core import DataSpec
from torch.utils.data import DataLoader, IterableDataset

from training.recipe.exports import MixtureChangedError, Reading
from training.run import data, distributed


class Stages(IterableDataset[dict[str, Any]]):
    """Whole batches: of the first mixture for its steps, of the next, … Each begins at its own beginning."""

    def __init__(self, readings: Sequence[Reading], *, batch_size: int, seed: int) -> None:
        self.specs = [data.training_data(one.export, batch_size=batch_size, seed=seed) for one in readings]
        self._steps = [one.steps for one in readings]
        self._samples = batch_size * distributed.world_size()
        self._first = (0, 0)  # a stage, and how many of its batches have been read

    def __iter__(self) -> Iterator[dict[str, Any]]:
        first, read = self._first
        for stage in range(first, len(self.specs)):
            left = self._steps[stage] - (read if stage == first else 0)
            loader: Any = self.specs[stage].dataloader
            while left:
                for batch in loader:
                    yield batch
                    left -= 1
                    if not left:
                        break
            data.close(self.specs[stage])

    def state_dict(self, num_samples: int, from_beginning: bool) -> dict[str, Any]:
        """Return the place after ``num_samples`` samples of all processes since the run's beginning."""
        assert from_beginning
        stage, read = 0, num_samples // self._samples
        while stage + 1 < len(self._steps) and read >= self._steps[stage]:
            read -= self._steps[stage]
            stage += 1
        loader: Any = self.specs[stage].dataloader
        epoch, batch = divmod(read, len(loader))
        place = {**loader.dataset.state_dict(0, True), "epoch": epoch, "sample_in_epoch": batch * self._samples}
        return {"stage": stage, "read": read, "place": place}

    def load_state_dict(self, obj: dict[str, Any]) -> None:
        """Continue from there. Raises MixtureChangedError if that was a place in other mixtures."""
        if obj.get("stage", len(self.specs)) >= len(self.specs):
            raise MixtureChangedError(
                "the checkpoint's place in the data is not one in these stages", hint="train in another folder: --out"
            )
        self._first = obj["stage"], obj["read"]
        loader: Any = self.specs[obj["stage"]].dataloader
        loader.dataset.load_state_dict(obj["place"])


def training_data(readings: Sequence[Reading], *, batch_size: int, seed: int) -> DataSpec:
    """Make batches of ``batch_size`` sequences per process, one stage after the other; ``seed`` gives their orders."""
    stages = Stages(readings, batch_size=batch_size, seed=seed)
    return data.spec(DataLoader(stages, batch_size=None))


def close(spec: DataSpec) -> None:
    """Stop the threads of a run's data, staged or not."""
    loader: Any = spec.dataloader
    for one in loader.dataset.specs if isinstance(loader.dataset, Stages) else (spec,):
        data.close(one)
