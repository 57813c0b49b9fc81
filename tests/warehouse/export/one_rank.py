"""One process of a distributed job: an epoch over an export with two workers; prints how often it saw each document.

Run by the tests with RANK, WORLD_SIZE and the rest in the environment.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import yaml


def main() -> None:
    """Read what streams.yaml says."""
    from streaming import Stream, StreamingDataset
    from torch import distributed
    from torch.utils.data import DataLoader

    from warehouse.mds.shared_memory import exclusive_start

    block = yaml.safe_load((Path(sys.argv[1]) / "streams.yaml").read_text())
    distributed.init_process_group("gloo")
    with exclusive_start(leads=distributed.get_rank() == 0):
        distributed.barrier()
        dataset = StreamingDataset(
            streams=[Stream(**stream) for stream in block["streams"].values()],
            num_canonical_nodes=block["num_canonical_nodes"],
            batch_size=8,
            shuffle=True,
        )
    seen: Counter[str] = Counter()
    for batch in DataLoader(dataset, batch_size=8, num_workers=2):
        seen.update(f"{component} {name}" for component, name in zip(batch["component"], batch["id"], strict=True))
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
