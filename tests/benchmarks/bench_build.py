"""Builds beside dbt's, on the same projects in one run: the test suite's shop, and 100 models with 300 tests.

    python tests/benchmarks/bench_build.py [--rounds 3]

Each measurement is a whole process. ``first`` builds into an empty database; ``again`` finds nothing changed (dbt
builds everything again, with its partial parse warm); ``empty process`` opens a lake and does nothing else: the floor.
dbt runs from ``CUVEE_DBT``, else ``.venv-dbt``, which `make bench` fills.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
DBT = Path(os.environ.get("CUVEE_DBT", ROOT / ".venv-dbt")) / "bin" / "dbt"
CUVEE = [sys.executable, "-c", "from warehouse.cli.main import main; main()"]


def seconds(command: list[str | Path], cwd: Path) -> float:
    """Wall time of one process that must succeed."""
    environment = os.environ | {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return taken


def measure(project: Path, rounds: int) -> dict[str, dict[str, float]]:
    """The best time of each tool, building first and again."""
    commands: dict[str, tuple[list[str | Path], Callable[[], None]]] = {
        "dbt": ([DBT, "build", "--profiles-dir", "."], lambda: (project / "dbt.duckdb").unlink(missing_ok=True)),
        "cuvee": (
            [*CUVEE, "build", "--project-dir", ".", "--lake", "lake", "--quiet"],
            lambda: shutil.rmtree(project / "lake", ignore_errors=True),
        ),
    }
    best: dict[str, dict[str, float]] = {"first": {}, "again": {}}
    for _ in range(rounds):
        for tool, (command, forget) in commands.items():
            forget()
            if tool == "cuvee":
                seconds([*CUVEE, "init", "--lake", "lake"], project)
            for when in best:
                best[when][tool] = min(best[when].get(tool, 1e9), seconds(command, project))
    return best


def main() -> None:
    """Measure and print."""
    from tests.conformance.generate import generate

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    if not DBT.exists():
        raise SystemExit(f"no dbt at {DBT}: make bench installs it")
    with tempfile.TemporaryDirectory() as folder:
        projects = {
            "shop": Path(shutil.copytree(ROOT / "tests/fixtures/projects/shop", Path(folder) / "shop")),
            "generated": generate(Path(folder) / "generated", models=100),
        }
        print(f"{'project':12}{'build':8}{'dbt s':>8}{'cuvee s':>9}   cuvee is")
        for name, project in projects.items():
            (project / "profiles.yml").write_text(
                f"{name}: {{target: dev, outputs: {{dev: {{type: duckdb, path: dbt.duckdb, threads: 2}}}}}}\n"
            )
            for when, best in measure(project, rounds).items():
                ratio = best["dbt"] / best["cuvee"]
                print(f"{name:12}{when:8}{best['dbt']:8.2f}{best['cuvee']:9.2f}   {ratio:.1f}x as fast", flush=True)
        floor = "from warehouse.lake.lake import Lake; Lake.open().cursor()"
        print(f"{'empty process':20}{'':8}{seconds([sys.executable, '-c', floor], projects['shop']):9.2f}")


if __name__ == "__main__":
    main()
