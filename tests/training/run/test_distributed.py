"""Several processes give what one gives: the same losses, and together the same samples in every batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.helpers import ENVIRONMENT
from tests.training.tiny_sweep import RECIPE, write_exports
from warehouse.lake.lake import Lake

pytest.importorskip("composer")
pytest.importorskip("streaming")

CUVEE = ("-c", "from warehouse.cli.main import main; main()")
STAGES = "arms.control=[{mixture: baseline, over: 25%}, {mixture: upsampled}]"
#: 4 batches, then 12 that go beyond an epoch of 10.
SMALL = ("arms={control: upsampled}", "seeds=[1]", "checkpoints={}", "trunk.tokens=2048", "anneal.tokens=6144")


def anneal(folder: Path, processes: int, *settings: str) -> subprocess.CompletedProcess[str]:
    """The command, under Composer's launcher where there are several processes."""
    options = [option for setting in (*SMALL, *settings) for option in ("--set", setting)]
    command = ["cuvee", "anneal", "tiny.yaml", *options]
    launcher = [str(Path(sys.executable).with_name("composer")), "-n", str(processes), "--command_mode"]
    if processes == 1:
        launcher, command = [sys.executable, *CUVEE], command[1:]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {**ENVIRONMENT, "MASTER_PORT": port, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        [*launcher, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def outcome(folder: Path, processes: int, *settings: str) -> tuple[list[Any], list[Any]]:
    """Metrics, and the samples of every batch with the number of ranks that read them."""
    lake = Lake.create(folder / "lake")
    write_exports(lake, folder / "exports")
    (folder / "tiny.yaml").write_text(RECIPE)
    done = anneal(folder, processes, *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    reader = lake.reader()
    metrics = reader.execute(
        "select arm, name, component, batch, value from runs.metrics join runs.runs using (run_id)"
        " where name not like 'speed/%' order by all"
    )
    batches = lake.reader().execute(
        "select arm, batch, list_sort(flatten(list(sample_ids))), count(distinct rank)"
        " from runs.batches join runs.runs using (run_id) group by all order by all"
    )
    return metrics.fetchall(), batches.fetchall()


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        pytest.param((), 1e-5, id="causal_lm"),
        pytest.param(("model.kind=encoder",), 1e-5, id="masked_lm", marks=pytest.mark.prove),
        pytest.param((STAGES,), 1e-5, id="stages", marks=pytest.mark.prove),
        pytest.param(("fsdp={}",), 1e-4, id="fsdp", marks=pytest.mark.prove),  # sums in another order than DDP
    ],
)
def test_two_processes_give_the_losses_of_one(tmp_path: Path, settings: tuple[str, ...], tolerance: float) -> None:
    plain = tuple(setting for setting in settings if not setting.startswith("fsdp"))
    metrics, batches = outcome(tmp_path / "1", 1, *plain)
    shared_metrics, shared_batches = outcome(tmp_path / "2", 2, *settings)
    assert [row[:3] for row in shared_batches] == [row[:3] for row in batches]
    assert {row[3] for row in shared_batches} == {2}
    assert {len(row[2]) for row in shared_batches} == {16}
    assert [row[:4] for row in shared_metrics] == [row[:4] for row in metrics]
    for ours, theirs in zip(shared_metrics, metrics, strict=True):
        assert ours[4] == pytest.approx(theirs[4], abs=tolerance), ours
