"""A build that calls a slow function, beside the ideal.

    python tests/benchmarks/bench_answers.py [--rows 20000] [--inputs 5000]

The function takes 20 ms a call and allows 64 calls in flight. The ideal is the time that its calls take at that rate,
and on top the time of the same model when every answer is stored already. A second model with the same calls pays
nothing. Times are those of ``build`` in one process, without the start of Python.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow as pa

from warehouse.project.options import Selection

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from udfs.expensive import BoundFunction, answer_schema  # noqa: E402
from warehouse.build import build as building  # noqa: E402
from warehouse.lake.lake import Lake  # noqa: E402

SECONDS, IN_FLIGHT = 0.02, 64


@dataclass
class Slow(BoundFunction):
    """``slow(text)``: the length of a text, 20 ms later."""

    name: str = "slow"
    store: str = "counts.slow"
    labeler: str = "slow"
    fingerprint: str = "5" * 32
    columns: pa.Schema = field(default_factory=lambda: pa.schema([("n", pa.int64())]))
    result: str = "n"
    calls: int = 0

    def bind(self, options: tuple[str | int | float | bool, ...]) -> Slow:
        return self

    def answers(self, inputs: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        texts = (
            (key, text)
            for batch in inputs
            for key, text in zip(batch["key"].to_pylist(), batch["text"].to_pylist(), strict=True)
        )
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            flying: list[Future[tuple[str, int]]] = [
                pool.submit(self._call, *each) for each in islice(texts, IN_FLIGHT)
            ]
            while flying:
                landed = [flying.pop(0).result()]
                while flying and flying[0].done():
                    landed.append(flying.pop(0).result())
                flying += [pool.submit(self._call, *each) for each in islice(texts, len(landed))]
                keys, lengths = zip(*landed, strict=True)
                n = len(landed)
                columns = [pa.array(keys), pa.array(["ok"] * n), pa.array(lengths), pa.nulls(n, pa.string())]
                yield pa.record_batch([*columns, pa.nulls(n, pa.int64())], schema=answer_schema(self))

    def _call(self, key: str, text: str) -> tuple[str, int]:
        time.sleep(SECONDS)
        self.calls += 1
        return key, len(text)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--inputs", type=int, default=5_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        (project / "models").mkdir(parents=True)
        (project / "dbt_project.yml").write_text("name: slow\nmodels: {+materialized: table}\n")
        (project / "models/texts.sql").write_text(
            f"select i as id, 'text ' || i % {arguments.inputs} as text from range({arguments.rows}) as t(i)"
        )
        for name in ("first", "second"):
            (project / f"models/{name}.sql").write_text("select id, slow(text) as n from {{ ref('texts') }}")
        lake = Lake.create(Path(folder) / "lake")
        slow = Slow()

        def build(name: str) -> float:
            began = time.perf_counter()
            results = building.build(lake, project, Selection((name,)), functions={"slow": slow})
            assert [result.status for result in results] == ["built"], results
            return time.perf_counter() - began

        build("texts")
        first = build("first")
        assert slow.calls == arguments.inputs
        second = build("second")
        assert slow.calls == arguments.inputs, "the second model paid"
    calls = arguments.inputs * SECONDS / IN_FLIGHT
    print(f"{arguments.rows:,} rows, {arguments.inputs:,} distinct inputs, {slow.calls:,} calls")
    print(f"calls {calls:.2f} s + stored answers {second:.2f} s = ideal {calls + second:.2f} s")
    print(f"build {first:.2f} s   {first / (calls + second):.2f}x the ideal")


if __name__ == "__main__":
    main()
