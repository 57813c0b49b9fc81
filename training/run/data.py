"""Samples of exports for training and evaluation, through StreamingDataset, each with its sample id.

A sample id is the sample's position over the export's streams, each stream counted once, in the manifest's order:
StreamingDataset's own numbering of the same streams, and the ``sample_id`` of exports.samples.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from composer.core import DataSpec
from streaming import Stream, StreamingDataLoader, StreamingDataset
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from training.checkpoint.reading import read_state
from training.recipe.exports import Export, MixtureChangedError, Reading
from training.run import distributed
from warehouse.export.external_shards import fitted
from warehouse.mds import shared_memory

#: Fixed, because Streaming's default is the number of machines, and the order of samples depends on it.
CANONICAL_NODES = 1


class TokenDataset(StreamingDataset):
    """Samples of an export as ``input_ids`` (any integer array, of its length) and ``sample_id``.

    Its place in the data is kept with the mixture's fingerprint, and taken up again on the same mixture only.
    ``continues``: the first place that is taken up is another run's, whose clock does not go on in this one.
    """

    def __init__(self, export: Export, *, continues: bool = False, **options: Any) -> None:
        with exclusive_start():
            super().__init__(num_canonical_nodes=CANONICAL_NODES, **options)
        self._column = export.manifest.column
        self._length, self._end = export.sequence_length, export.manifest.end_of_text or 0
        self._mixture = _mixture(export)
        self._continues = continues
        self._begun = (0, 0)  # an epoch, and how many of its samples another run has read

    def get_item(self, sample_id: int, retry: int = 7) -> dict[str, Any]:
        """Return one sample by its id."""
        tokens = super().get_item(sample_id, retry)[self._column]
        return {"input_ids": fitted(tokens, self._length, self._end), "sample_id": int(sample_id)}

    def state_dict(self, num_samples: int, from_beginning: bool) -> dict[str, Any]:
        """Return the place in the data. Composer counts ``num_samples`` from where the run began in its first epoch."""
        state = super().state_dict(num_samples, from_beginning)
        epoch, samples = self._begun
        if from_beginning and state["epoch"] == epoch:
            state["sample_in_epoch"] += samples
        return {**state, **self._mixture, "begun": self._begun}

    def load_state_dict(self, obj: dict[str, Any]) -> None:
        """Continue from there. Raises MixtureChangedError if that was a place in another mixture."""
        changed = [key for key, value in self._mixture.items() if obj.get(key) != value]
        if changed:
            was, now = ((one.get("mixture"), str(one.get(changed[-1]))[:12]) for one in (obj, self._mixture))
            raise MixtureChangedError(
                f"the checkpoint's place in the data is one in {was[0]} ({changed[-1]} {was[1]}), and {now[0]}"
                f" ({now[1]}) is another mixture",
                hint="go on with the mixture that the run was begun on, or train in another folder: --out",
            )
        self._begun = (obj["epoch"], obj["sample_in_epoch"]) if self._continues else tuple(obj["begun"])
        super().load_state_dict({key: value for key, value in obj.items() if key not in (*self._mixture, "begun")})


def training_data(export: Export, *, batch_size: int, seed: int, continues: bool = False) -> DataSpec:
    """Make shuffled batches of ``batch_size`` sequences per process, every stream as often as the mixture says.

    ``seed`` alone gives the order. A last, smaller batch of an epoch is dropped, so that every batch has the same
    number of tokens. ``continues``: see TokenDataset.
    """
    streams = [Stream(**export.place(stream), repeat=stream.repeat) for stream in export.streams()]
    dataset = TokenDataset(
        export, continues=continues, streams=streams, batch_size=batch_size, shuffle=True, shuffle_seed=seed
    )
    return _loaded(dataset, batch_size, drop_last=True)


class Stages(IterableDataset[dict[str, Any]]):
    """Several mixtures in a row, to Composer one dataset: whole batches of the first for its steps, of the next, …

    Each begins at its own beginning. A place is a stage and a place in that stage's mixture, and both follow from the
    number of samples that were read.
    """

    def __init__(self, readings: Sequence[Reading], *, batch_size: int, seed: int) -> None:
        self.specs = [training_data(one.export, batch_size=batch_size, seed=seed) for one in readings]
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
            close(self.specs[stage])

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


def staged_data(readings: Sequence[Reading], *, batch_size: int, seed: int) -> DataSpec:
    """Make batches of ``batch_size`` sequences per process, one stage after the other; ``seed`` gives their orders."""
    return _spec(DataLoader(Stages(readings, batch_size=batch_size, seed=seed), batch_size=None))


def _mixture(export: Export) -> dict[str, Any]:
    """Return what identifies the data that a place is in."""
    manifest = export.manifest
    own = {"mixture": manifest.mixture, "fingerprint": manifest.fingerprint, "export": manifest.export_id}
    return {**own, "left_out": export.left_out}


def reads_on(checkpoint: Path, export: Export, seed: int, *, trust: bool = False) -> bool:
    """Check whether a checkpoint's place in the data is one in the same samples in the same order."""
    state = read_state(checkpoint, trust=trust).get("dataset_state")
    place = (state.get("train") if isinstance(state, dict) else None) or {}
    return isinstance(place, dict) and place.items() >= {**_mixture(export), "shuffle_seed": seed}.items()


def evaluation_data(export: Export, component: str, *, batch_size: int) -> DataSpec:
    """Read all samples of one component once, in their order."""
    streams = [Stream(**export.place(stream)) for stream in export.streams(component)]
    dataset = TokenDataset(export, streams=streams, batch_size=batch_size, shuffle=False)
    return _loaded(dataset, batch_size, drop_last=False)


def all_samples(export: Export) -> TokenDataset:
    """Open the samples of an export by their ids, through ``get_item``."""
    streams = [Stream(local=str(export.folder / stream.path)) for stream in export.streams()]
    return TokenDataset(export, streams=streams, batch_size=1, shuffle=False)


def close(spec: DataSpec) -> None:
    """Stop the threads of a run's data, staged or not. They would poll until the process ends."""
    loader: Any = spec.dataloader
    if isinstance(loader.dataset, Stages):
        for one in loader.dataset.specs:
            close(one)
    elif hasattr(loader.dataset, "_iterator"):
        loader.dataset._iterator.non_blocking_exit()


@contextlib.contextmanager
def exclusive_start() -> Iterator[None]:
    """Start a dataset on all ranks while no other process of their machines starts one.

    Every rank looks for the lowest free number by itself (see warehouse.mds.shared_memory), so all of them wait for the
    lock that one of each machine takes, and for the last one to be ready.
    """
    with shared_memory.exclusive_start(leads=distributed.is_local_rank_zero()):
        distributed.barrier()
        yield
        distributed.barrier()


def _loaded(dataset: TokenDataset, batch_size: int, *, drop_last: bool) -> DataSpec:
    # No worker processes: reading is some 1% of a step on a CPU, and workers would compete for its cores.
    return _spec(
        StreamingDataLoader(dataset, batch_size=batch_size, collate_fn=_collate, num_workers=0, drop_last=drop_last)
    )


def _spec(loader: DataLoader[Any]) -> DataSpec:
    """Wrap a loader of batches of sequences with what Composer counts in them."""
    return DataSpec(
        loader,
        get_num_samples_in_batch=lambda batch: len(batch["input_ids"]),
        get_num_tokens_in_batch=lambda batch: batch["input_ids"].numel(),
    )


def _collate(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    tokens = np.stack([sample["input_ids"] for sample in samples])
    return {
        "input_ids": torch.from_numpy(tokens.astype(np.int64)),
        "sample_ids": torch.tensor([sample["sample_id"] for sample in samples]),
    }
