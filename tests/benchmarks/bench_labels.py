"""What labelling costs besides the model: texts → prompts → the fake engine → labels, in documents a second.

    python tests/benchmarks/bench_labels.py [--documents 60000] [--lake]

The texts are those of the shared data, told apart by a number, about 5,700 characters each. ``--lake`` also measures
the way from a lake's documents to the committed answers, a build of one model.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from udfs.expensive import INPUT_SCHEMA  # noqa: E402
from udfs.labels import LabelDocument  # noqa: E402

#: Texts per batch, as the builder hands them over.
BATCH = 1024


def texts(count: int) -> list[str]:
    """Documents of the shared data, each different."""
    data = Path(os.environ.get("CUVEE_TEST_DATA", ROOT.parent / "shared" / "data"))
    path = data / "domains" / "domain_docs.jsonl.gz"
    if path.is_file():
        with gzip.open(path, "rt", encoding="utf-8") as file:
            found = [json.loads(line)["text"] for line in file]
    else:
        found = [f"Document {n}. " + "A cellar master composes a blend from many barrels. " * 50 for n in range(1000)]
    return [f"{found[n % len(found)]}\n{n}" for n in range(count)]


def batches(documents: list[str]) -> list[pa.RecordBatch]:
    """The texts as the builder streams them."""
    keys = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in documents]
    rows = pa.record_batch([keys, documents], schema=INPUT_SCHEMA)
    return [rows.slice(start, BATCH) for start in range(0, len(documents), BATCH)]


def pipeline(documents: list[str]) -> float:
    """Documents a second from batches of texts to batches of answers."""
    function = LabelDocument(ROOT / "sql" / "seeds").bind(("fake",))
    inputs: Iterator[pa.RecordBatch] = iter(batches(documents))
    start = time.perf_counter()
    answered = sum(batch.num_rows for batch in function.answers(inputs))
    seconds = time.perf_counter() - start
    assert answered == len(documents)
    return answered / seconds


def through_the_lake(documents: list[str]) -> float:
    """Documents a second from a lake's documents to committed answers; seeds and the model's rows included."""
    from warehouse import build
    from warehouse.lake import Lake
    from warehouse.outcome import Options

    with tempfile.TemporaryDirectory() as folder:
        lake = Lake.create(Path(folder) / "lake")
        rows = pa.concat_tables(pa.Table.from_batches([batch]) for batch in batches(documents))
        project = Path(folder) / "sql"
        for part in ("models", "seeds"):
            (project / part).mkdir(parents=True)
        for name in ("taxonomy.csv", "fdc.csv"):
            (project / "seeds" / name).write_bytes((ROOT / "sql" / "seeds" / name).read_bytes())
        (project / "dbt_project.yml").write_text("name: bench\nversion: '1'\nmodels: {+materialized: table}\n")
        (project / "models" / "labelled.sql").write_text(
            "select doc_id, label_document(text, 'fake') as label from raw.documents"
        )
        import pyarrow.parquet as pq

        table = pa.table(
            {
                "doc_id": rows["key"],
                "text": rows["text"],
                "n_chars": pa.array(map(len, documents), pa.int64()),
                "first_file_id": pa.array(["bench"] * len(documents)),
            }
        )
        with lake.staging() as staging:
            path = staging.file("raw.documents")
            pq.write_table(table, path, compression="zstd")
            with lake.commit("documents", author="bench") as commit:
                commit.add("raw.documents", [path])
        start = time.perf_counter()
        results = build.build(lake, project, options=Options(commit_every=20_000))
        seconds = time.perf_counter() - start
        assert not [result for result in results if result.failed], results
    return len(documents) / seconds


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--documents", type=int, default=60_000)
    parser.add_argument("--lake", action="store_true", help="also from a lake's documents to its answers")
    options = parser.parse_args()
    documents = texts(options.documents)
    mean = sum(map(len, documents)) / len(documents)
    best = max(pipeline(documents) for _ in range(3))
    print(f"texts → labels: {best:,.0f} documents/s, {mean:,.0f} characters each (at least 20,000 wanted)")
    if options.lake:
        print(f"lake → committed labels: {through_the_lake(documents):,.0f} documents/s")
    sys.exit(best < 20_000)


if __name__ == "__main__":
    main()
