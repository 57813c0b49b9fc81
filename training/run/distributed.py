"""The processes of one training, as Composer's launcher or torchrun starts them.

    composer -n 2 --command_mode cuvee anneal RECIPE
    torchrun --nproc-per-node 2 --no-python cuvee anneal RECIPE

All of them read the same recipe and exports; the first one alone writes to the lake and speaks to the user.
"""

from __future__ import annotations

import os


def first() -> bool:
    """Whether this process is the first one, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


def count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def first_here() -> bool:
    """Whether this process is the first one of its machine."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def join() -> None:
    """Connect the processes. Before any dataset is made: Streaming would connect and disconnect for each."""
    if count() == 1:
        return
    import torch
    from composer.utils import dist

    dist.initialize_dist("gpu" if torch.cuda.is_available() else "cpu")


def wait() -> None:
    """Wait until every process has come here. One that fails instead ends them all, through the launcher."""
    if count() > 1:
        from composer.utils import dist

        dist.barrier()
