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

#: Fixed, because Streaming's default is the number of machines, and the order of samples depends on it.
CANONICAL_NODES = 1


class TokenDataset(StreamingDataset):
    """Samples as ``input_ids`` (any integer array) and ``sample_id``. ``column`` is where the export has the tokens."""

    def __init__(self, column: str, **options: Any) -> None:
        super().__init__(num_canonical_nodes=CANONICAL_NODES, **options)
        self._column = column

    def get_item(self, sample_id: int, retry: int = 7) -> dict[str, Any]:
        """One sample by its id."""
        return {"input_ids": super().get_item(sample_id, retry)[self._column], "sample_id": int(sample_id)}


def training_data(export: Export, *, batch_size: int, seed: int) -> DataSpec:
    """Shuffled batches of ``batch_size`` sequences per process, every stream as often as the mixture says.

    ``seed`` alone gives the order. A last, smaller batch of an epoch is dropped, so that every batch has the same
    number of tokens.
    """
    streams = [Stream(local=str(export.folder / stream.path), repeat=stream.repeat) for stream in export.streams()]
    dataset = TokenDataset(
        export.manifest.column, streams=streams, batch_size=batch_size, shuffle=True, shuffle_seed=seed
    )
    return _spec(dataset, batch_size, drop_last=True)


def evaluation_data(export: Export, component: str, *, batch_size: int) -> DataSpec:
    """All samples of one component once, in their order."""
    streams = [Stream(local=str(export.folder / stream.path)) for stream in export.streams(component)]
    dataset = TokenDataset(export.manifest.column, streams=streams, batch_size=batch_size, shuffle=False)
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

    Streaming's cleaning removes every block on the machine, those of living processes too. So it happens only if no
    other run of ours is alive and, where the system tells (Linux), nobody maps such a block.
    """
    with (Path(tempfile.gettempdir()) / f"cuvee-streaming-{os.getuid()}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            if not _mapped_elsewhere():
                _clean()
        fcntl.flock(lock, fcntl.LOCK_SH)  # held by every run for as long as it lives
        yield


def _clean() -> None:
    """Remove blocks and lock files of processes that are gone.

    Streaming's own function stops at the first unused number, and its lock files, which it never removes, keep numbers
    from being used again: so blocks above a gap would stay for ever. Where no process can be asked (macOS), it must do.
    """
    clean_stale_shared_memory()
    if not Path("/proc").is_dir():
        return
    locks = [constant.BARRIER_FILELOCK, constant.CACHE_FILELOCK]
    for folder, names in ((Path("/dev/shm"), constant.SHM_TO_CLEAN), (Path(tempfile.gettempdir()), locks)):
        for path in folder.glob("[0-9]*_*"):
            if path.name[:6].isdigit() and path.name[7:] in names:
                with contextlib.suppress(OSError):  # another user's
                    path.unlink()


def _mapped_elsewhere() -> bool:
    """Whether another process maps a block of Streaming's (``/dev/shm/000000_locals`` and the like)."""
    block = re.compile(r"/dev/shm/\d{6}_")
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            if int(maps.parent.name) != os.getpid() and block.search(maps.read_text()):
                return True
    return False


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
