"""Ingest beside its peers, on the same real text in one run: JSONL, gzipped JSONL and Parquet of about 600 MB.

    python tests/benchmarks/bench_ingest.py [--megabytes 600] [--rounds 3]

Peers: datatrove (its reader to its Parquet writer) and DuckDB (a bare ``COPY (FROM read_json(…)) TO …`` to Parquet,
which neither hashes, nor folds duplicates, nor keeps what it cannot read). Each is a process of its own, started for
each measurement; the order changes from round to round and the best round counts. datatrove runs from an environment
of its own: ``CUVEE_PEERS``, else ``.venv-peers``.

The text is the shared test data, repeated with a number before each document so that no two are equal.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CUVEE_TEST_DATA", ROOT.parent / "shared" / "data"))
sys.path.insert(0, str(ROOT))

from tests.peers import PEERS, peer  # noqa: E402

DUCKDB = """
import sys, duckdb
source, target = sys.argv[1:]
reader = "read_parquet" if source.endswith(".parquet") else "read_json"
duckdb.execute(f"copy (from {reader}('{source}')) to '{target}/out.parquet' (format parquet)")
"""

DATATROVE = """
import sys
from pathlib import Path
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader, ParquetReader
from datatrove.pipeline.writers import ParquetWriter
source, target = map(Path, sys.argv[1:])
kind = ParquetReader if source.suffix == ".parquet" else JsonlReader
LocalPipelineExecutor(
    [kind(str(source.parent), glob_pattern=source.name), ParquetWriter(str(target / "out"))],
    tasks=1, logging_dir=str(target / "logs"),
).run()
"""


def documents() -> Iterator[dict[str, object]]:
    """The documents of the shared test data."""
    for folder in ("domains", "web"):
        for path in sorted((DATA / folder).glob("*.jsonl.gz")):
            with gzip.open(path) as lines:
                for line in lines:
                    record = json.loads(line)
                    if isinstance(record.get("text"), str) and record["text"]:
                        yield record


def write_inputs(folder: Path, megabytes: int) -> list[Path]:
    """The same records as JSONL, gzipped JSONL and Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    records = list(documents())
    plain = folder / "bench.jsonl"
    number = 0
    with plain.open("wb") as out:
        while out.tell() < megabytes * 1_000_000:
            for record in records:
                row = {
                    "id": f"{number}-{record.get('id')}",
                    "text": f"{number} {record['text']}",
                    "source": "bench",
                    # No nulls: datatrove's Parquet writer fails when a batch's column has only nulls.
                    "url": str(record.get("url") or ""),
                    "metadata": {"domain": str(record.get("domain")), "license": str(record.get("license"))},
                }
                out.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
                number += 1
    packed = folder / "bench.jsonl.gz"
    with plain.open("rb") as source, gzip.open(packed, "wb", compresslevel=6) as target:
        while block := source.read(1 << 20):
            target.write(block)
    columns = folder / "bench.parquet"
    with plain.open("rb") as source:
        writer = None
        while rows := source.readlines(32 << 20):
            table = pa.Table.from_pylist([json.loads(row) for row in rows], schema=_schema())
            writer = writer or pq.ParquetWriter(columns, table.schema, compression="zstd")
            writer.write_table(table)
        assert writer is not None
        writer.close()
    return [plain, packed, columns]


def _schema() -> object:
    import pyarrow as pa

    text = pa.string()
    inner = pa.struct([("domain", text), ("license", text)])
    return pa.schema([("id", text), ("text", text), ("source", text), ("url", text), ("metadata", inner)])


def measure(name: str, source: Path) -> tuple[float, int]:
    """Seconds that one tool takes for one file, and the largest resident size in MB."""
    with tempfile.TemporaryDirectory(dir=source.parent) as target:
        if name == "cuvee":
            cuvee = [sys.executable, "-c", "from warehouse.cli.main import main; main()"]
            lake = ["--lake", f"{target}/lake", "-q"]
            subprocess.run([*cuvee, "init", *lake], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
            command = [*cuvee, "ingest", str(source), *lake]
        elif name == "duckdb":
            command = [sys.executable, "-c", DUCKDB, str(source), target]
        else:
            command = [str(PEERS / "bin" / "python"), "-c", DATATROVE, str(source), target]
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        if status:
            raise SystemExit(f"{name} failed on {source.name}")
        return seconds, usage.ru_maxrss // 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    tools = ["cuvee", "duckdb", *(["datatrove"] if peer("datatrove") else [])]
    with tempfile.TemporaryDirectory() as folder:
        with ProcessPoolExecutor(1) as pool:  # a child's largest size is at least that of the process it was born from
            inputs = pool.submit(write_inputs, Path(folder), arguments.megabytes).result()
        megabytes = inputs[0].stat().st_size / 1e6
        print(f"{'input':16}{'tool':12}{'seconds':>8}{'MB/s':>8}{'RSS MB':>8}   cuvee is")
        for source in inputs:
            best: dict[str, tuple[float, int]] = {}
            for turn in range(arguments.rounds):
                for name in tools[turn % len(tools) :] + tools[: turn % len(tools)]:
                    result = measure(name, source)
                    best[name] = min(best.get(name, result), result)
            for name in tools:
                seconds, resident = best[name]
                ratio = "" if name == "cuvee" else f"   {seconds / best['cuvee'][0]:.2f}x as fast"
                print(
                    f"{source.name:16}{name:12}{seconds:8.2f}{megabytes / seconds:8.0f}{resident:8}{ratio}", flush=True
                )


if __name__ == "__main__":
    main()
