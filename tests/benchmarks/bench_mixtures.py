"""Every ready mixture over a pool of millions of documents (metadata only): seconds per build.

    python tests/benchmarks/bench_mixtures.py [--documents 20000000] [--presets ettin_decay smollm3_decay]

The documents lie in a lake as 32 hex digits, a number of tokens and a number that deals them out evenly to a mix's
components. A mixture is built after `mixture_components`, whose time has a row of its own. Beside the clock stand the
processor's seconds, halved: what the clock would say on two cores that do nothing else. The peer is a sort of the same
documents by md5 with a running sum of tokens, into a table: the least there is to do if every document is put in order;
ratios are of its processor's seconds to a mixture's. DuckDB has 2 threads and 8 GB.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import functools
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from warehouse.project.options import Selection

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from warehouse.build.build import build  # noqa: E402
from warehouse.build.build_options import BuildOptions  # noqa: E402
from warehouse.lake.lake import Lake  # noqa: E402

#: What DuckDB may use.
LIMITS = {"threads": "2", "memory_limit": "8GB"}
PUBLISHED = ROOT / "sql" / "models" / "mixtures" / "published"
PEER = """
create temp table ordered as
select doc_id, n_tokens, sum(n_tokens) over (
    partition by nth % 9 order by md5('17:' || doc_id), doc_id rows between unbounded preceding and current row
) as so_far
from main.pool
"""


def components(preset: str) -> list[str]:
    """The components of a preset's mix, in the order of its seed."""
    text = (PUBLISHED / f"{preset}.sql").read_text()
    for file in sorted((ROOT / "sql" / "seeds" / "mixes").glob("*.csv")):
        with file.open(encoding="utf-8") as lines:
            rows = [row for row in csv.DictReader(lines) if f"'{row['mix']}'" in text and row["share_percent"]]
        if rows:
            return [row["component"] for row in rows if row["component"] != "candidate"]
    return ["Large-Scale CC", "Small-Scale CC", "Domain Specific", "Code"]


@contextlib.contextmanager
def timed(name: str, rows: Callable[[], int], peer: list[float]) -> Iterator[None]:
    """Print what the body took, by the clock and by the processor; the first is the peer."""
    wall, processor = time.perf_counter(), time.process_time()
    yield
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    peer.append(processor)
    print(f"{name:32}{wall:9.1f}{processor / 2:9.1f}{rows() / 1e6:14.1f}{peer[0] / processor:9.1f}x", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=20_000_000)
    presets = sorted(file.stem for file in PUBLISHED.glob("*.sql") if file.stem != "mixture_components")
    parser.add_argument("--presets", nargs="*", choices=presets, default=presets)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(shutil.copytree(ROOT / "sql", Path(folder) / "sql", ignore=shutil.ignore_patterns("target")))
        (project / "models" / "pool.sql").write_text(
            "select md5(i::varchar) as doc_id, (i * 7919 % 1999 + 1)::bigint as n_tokens, i as nth"
            f" from range({arguments.documents}) t(i)"
        )
        (project / "models" / "candidates.sql").write_text("select doc_id from {{ ref('pool') }} where nth % 20 = 0")
        lake = Lake.create(Path(folder) / "lake")
        for name, value in LIMITS.items():
            lake.cursor().execute(f"set global {name} = '{value}'")

        def made(select: str, **variables: Any) -> None:
            values = {
                "published_mixtures": True, "published_pool": "pool", "published_candidate": "candidates", **variables
            }  # fmt: skip
            results = build(
                lake,
                project,
                Selection(tuple(select.split()), kinds=("model", "seed")),
                options=BuildOptions(variables=values),
            )
            failed = [each for each in results if each.failed]
            if failed:
                raise SystemExit("\n".join(each.message for each in failed))

        def rows(name: str) -> int:
            (count,) = lake.cursor().execute(f"select count(*) from main.{name}").fetchone() or (0,)
            return int(count)

        print(f"{'':32}{'seconds':>9}{'cpu / 2':>9}{'million rows':>14}{'faster':>10}")
        made("pool candidates")
        peer: list[float] = []
        with timed("every document in order (peer)", lambda: arguments.documents, peer):
            lake.cursor().execute(PEER)
        last: list[str] | None = None
        for preset in sorted(arguments.presets, key=components):
            names = components(preset)
            mapped = {name: f"nth % {len(names)} = {number}" for number, name in enumerate(names)}
            if names != last:
                made("path:seeds/mixes", published_components=mapped)
                with timed(f"  {len(names)} components", functools.partial(rows, "mixture_components"), peer):
                    made("mixture_components", published_components=mapped)
                last = names
            # 1,000 tokens in the middle: the windows are parts of a training on about all documents.
            budget = arguments.documents * 1000 if re.search("upsampling_[0-9]", preset) else None
            with timed(preset, functools.partial(rows, preset), peer):
                made(preset, published_components=mapped, training_budget=budget)


if __name__ == "__main__":
    main()
