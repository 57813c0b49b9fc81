"""The processes of one training, as Composer's launcher or torchrun starts them.

    composer -n 2 --command_mode cuvee anneal RECIPE
    torchrun --nproc-per-node 2 --no-python cuvee anneal RECIPE

All of them read the same recipe and exports; the first one alone writes to the lake and speaks to the user.
"""

from __future__ import annotations

import os


def is_rank_zero() -> bool:
    """Check whether this process is the first one, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


def world_size() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_local_rank_zero() -> bool:
    """Check whether this process is the first one of its machine."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def init_distributed() -> None:
    """Connect the processes. Before any dataset is made: Streaming would connect and disconnect for each."""
    if world_size() == 1:
        return
    import torch
    from composer.utils import dist

    dist.initialize_dist("gpu" if torch.cuda.is_available() else "cpu")


def barrier() -> None:
    """Wait until every process has come here. One that fails instead ends them all, through the launcher."""
    if world_size() > 1:
        from composer.utils import dist

        dist.barrier()
