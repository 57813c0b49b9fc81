"""Several processes give what one gives: the same losses, and together the same samples in every batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.tiny_sweep import RECIPE, write_exports
from warehouse.lake import Lake

pytest.importorskip("composer")
pytest.importorskip("streaming")
pytestmark = pytest.mark.xdist_group("ranks")

CUVEE = ("-c", "from warehouse.cli import main; main()")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
SMALL = ("arms={control: upsampled}", "seeds=[1]", "checkpoints.every=4096", "anneal.tokens=6144")


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


@pytest.mark.parametrize(
    "settings", [(), ("model.kind=encoder",), ("fsdp={}",)], ids=["causal_lm", "masked_lm", "fsdp"]
)
def test_two_processes_give_the_losses_of_one(tmp_path: Path, settings: tuple[str, ...]) -> None:
    found: list[dict[str, Any]] = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        lake = Lake.create(folder / "lake")
        write_exports(lake, folder / "exports")
        (folder / "tiny.yaml").write_text(RECIPE)
        done = anneal(folder, processes, *(settings if processes == 2 or "fsdp={}" not in settings else ()))
        assert done.returncode == 0, done.stdout + done.stderr
        reader = lake.reader()
        metrics = reader.execute(
            "select arm, name, component, batch, value from runs.metrics join runs.runs using (run_id) order by all"
        ).fetchall()
        batches = reader.execute(
            "select arm, batch, list_sort(flatten(list(sample_ids))), count(distinct rank)"
            " from runs.batches join runs.runs using (run_id) group by all order by all"
        ).fetchall()
        found.append({"metrics": metrics, "batches": batches})
    alone, together = found
    assert [row[:3] for row in together["batches"]] == [row[:3] for row in alone["batches"]]
    assert {row[3] for row in together["batches"]} == {2}
    assert {len(row[2]) for row in together["batches"]} == {16}
    assert [row[:4] for row in together["metrics"]] == [row[:4] for row in alone["metrics"]]
    for ours, theirs in zip(together["metrics"], alone["metrics"], strict=True):
        assert ours[4] == pytest.approx(theirs[4], abs=1e-5), ours
