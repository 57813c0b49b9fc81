"""Samples of an export for training and evaluation, through StreamingDataset, each with its sample id.

A sample id is the sample's position over the export's streams, each stream counted once, in the manifest's order:
StreamingDataset's own numbering of the same streams, and the ``sample_id`` of exports.samples.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from composer.core import DataSpec
from streaming import Stream, StreamingDataLoader, StreamingDataset
from streaming.base import constant
from streaming.base.util import clean_stale_shared_memory
from torch import Tensor

from training.exports import Export
from warehouse.export.foreign import fitted

#: Fixed, because Streaming's default is the number of machines, and the order of samples depends on it.
CANONICAL_NODES = 1


class TokenDataset(StreamingDataset):
    """Samples as ``input_ids`` (any integer array, of the export's length) and ``sample_id``."""

    def __init__(self, export: Export, **options: Any) -> None:
        super().__init__(num_canonical_nodes=CANONICAL_NODES, **options)
        self._column = export.manifest.column
        self._length, self._end = export.sequence_length, export.manifest.end_of_text or 0

    def get_item(self, sample_id: int, retry: int = 7) -> dict[str, Any]:
        """One sample by its id."""
        tokens = super().get_item(sample_id, retry)[self._column]
        return {"input_ids": fitted(tokens, self._length, self._end), "sample_id": int(sample_id)}


def training_data(export: Export, *, batch_size: int, seed: int) -> DataSpec:
    """Shuffled batches of ``batch_size`` sequences per process, every stream as often as the mixture says.

    ``seed`` alone gives the order. A last, smaller batch of an epoch is dropped, so that every batch has the same
    number of tokens.
    """
    streams = [Stream(**export.place(stream), repeat=stream.repeat) for stream in export.streams()]
    dataset = TokenDataset(export, streams=streams, batch_size=batch_size, shuffle=True, shuffle_seed=seed)
    return _spec(dataset, batch_size, drop_last=True)


def evaluation_data(export: Export, component: str, *, batch_size: int) -> DataSpec:
    """All samples of one component once, in their order."""
    streams = [Stream(**export.place(stream)) for stream in export.streams(component)]
    dataset = TokenDataset(export, streams=streams, batch_size=batch_size, shuffle=False)
    return _spec(dataset, batch_size, drop_last=False)


def close(spec: DataSpec) -> None:
    """Stop the dataset's threads. They would poll until the process ends."""
    loader: Any = spec.dataloader
    iterator = getattr(loader.dataset, "_iterator", None)
    if iterator is not None:
        iterator.non_blocking_exit()


@contextlib.contextmanager
def shared_memory() -> Iterator[None]:
    """Hold Streaming's shared memory, after removing what killed processes left of it.

    Streaming counts each kind of block by itself, so where a killed run left some kinds of a number and not others, the
    next one fails with FileExistsError. Its own cleaning removes every block on the machine, those of living processes
    too. Here a number's blocks go if no process maps one of them, and no other run of ours may be about to.
    """
    with (Path(tempfile.gettempdir()) / f"cuvee-streaming-{os.getuid()}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            _clean()
        fcntl.flock(lock, fcntl.LOCK_SH)  # held by every run for as long as it lives
        yield


def _clean() -> None:
    """Remove blocks and lock files of processes that are gone; where none can be asked (macOS), all."""
    if not Path("/proc").is_dir():
        clean_stale_shared_memory()
        return
    used = _mapped()
    locks = [constant.BARRIER_FILELOCK, constant.CACHE_FILELOCK]
    for folder, names in ((Path("/dev/shm"), constant.SHM_TO_CLEAN), (Path(tempfile.gettempdir()), locks)):
        for path in folder.glob("[0-9]*_*"):
            number = path.name[:6]
            if number.isdigit() and number not in used and path.name[7:] in names:
                with contextlib.suppress(OSError):  # another user's
                    path.unlink()


def _mapped() -> set[str]:
    """The numbers of the blocks that some process maps (``/dev/shm/000000_locals`` and the like)."""
    block = re.compile(r"/dev/shm/(\d{6})_")
    used: set[str] = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            used.update(block.findall(maps.read_text()))
    return used


def _spec(dataset: TokenDataset, batch_size: int, *, drop_last: bool) -> DataSpec:
    # No worker processes: reading is some 1% of a step on a CPU, and workers would compete for its cores.
    loader = StreamingDataLoader(
        dataset, batch_size=batch_size, collate_fn=_collate, num_workers=0, drop_last=drop_last
    )
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
