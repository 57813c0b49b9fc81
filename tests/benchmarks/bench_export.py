"""Export beside Streaming's MDSWriter, on the same real text in one run: the encoder alone, end to end, and tokens.

    python tests/benchmarks/bench_export.py [--megabytes 500] [--rounds 3]

* Encoder alone: an Arrow batch to the bytes of an uncompressed shard. MDSWriter starts from the same batch, by
  ``to_pylist``, because it takes dicts.
* End to end: a mixture of the lake to shards, beside MDSWriter fed from the lake's own Parquet files by pyarrow, row
  group by row group. Cuvée's time is that of the whole export: the mixture's rows are looked up, ordered by md5, hashed
  with SHA-256 and registered in the lake; MDSWriter writes the rows as they come.
* Reading: a shard of that batch on disk to Arrow, hashes checked, beside Streaming's own reader, sample by sample.
* Tokens: packed sequences of a tenth of the text, beside a bare ``tokenizers`` batch encoding that keeps nothing, and
  beside the algorithm of llm-foundry's convert_text_to_mds (the package's pins exclude ours): two processes, in each
  transformers' tokenizer by document, a list of ids cut into samples, MDSWriter.
* ``n_tokens`` over the same texts, as a build asks it, beside that bare encoding.

Each end-to-end measurement is a process of its own, in turn, and the best round counts; beside MB per second of time
stand MB per second of CPU, which other work on the machine disturbs less. The text is the shared test data, repeated
with a number before each document so that no two are equal.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from bench_ingest import documents

from udfs.tokens import tokenizer
from warehouse.lake.lake import Lake

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = {"component": "str", "id": "str", "text": "str"}


def make_lake(folder: Path, megabytes: int) -> tuple[Lake, int]:
    """A lake with that much text in three components, a mixture of all of it, and a tokenizer. Gives its bytes too."""
    texts = [str(record["text"]) for record in documents()]
    lake = Lake.create(folder / "lake")
    total = number = 0
    with lake.staging() as staging:
        files, rows = [], []
        while total < megabytes * 1_000_000:
            batch = []
            while len(batch) < 20_000 and total < megabytes * 1_000_000:
                batch.append(f"{number} {texts[number % len(texts)]}")
                total += len(batch[-1].encode())
                number += 1
            ids = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in batch]
            table = pa.table(
                {
                    "doc_id": ids,
                    "text": batch,
                    "n_chars": pa.array(map(len, batch), pa.int64()),
                    "first_file_id": ["bench"] * len(batch),
                }
            )
            files.append(staging.file("raw.documents"))
            pq.write_table(table, files[-1], row_group_size=4000, compression="zstd")
            components = [("code", "prose", "law")[int(doc_id[0], 16) % 3] for doc_id in ids]
            tokens = pa.array([len(text) // 4 for text in batch], pa.int64())
            ones = pa.array([1] * len(batch), pa.int64())
            rows.append(pa.table({"doc_id": ids, "component": components, "copies": ones, "n_tokens": tokens}))
        mixture = staging.file("main.blend")
        pq.write_table(pa.concat_tables(rows), mixture)
        columns = "select '' as doc_id, '' as component, 1::bigint as copies, 1::bigint as n_tokens"
        with lake.commit("bench") as commit:
            commit.add("raw.documents", files)
            commit.replace("main.blend", columns, [mixture])
    trained = tokenizer.train(iter(texts), lake.root / "tokenizers" / "bench", 8192)
    with lake.commit("tokenizer") as commit:
        row = ["bench", trained.fingerprint, trained.vocab_size, "bench", len(texts)]
        commit.sql("insert into cuvee.tokenizers values (?, ?, ?, ?, ?, now())", row)
    return lake, total


def batches(lake: Path) -> Iterator[pa.RecordBatch]:
    """The lake's documents, a row group at a time, as samples."""
    for path in sorted((lake / "data" / "raw" / "documents").glob("*.parquet")):
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=["doc_id", "text"])
            for batch in table.to_batches():
                columns = [pa.repeat("code", batch.num_rows), batch["doc_id"], batch["text"]]
                yield pa.record_batch(columns, list(COLUMNS))


def mdswriter(lake: Path, out: Path, compression: str | None) -> None:
    """What a user of MDSWriter does."""
    from streaming import MDSWriter

    with MDSWriter(columns=COLUMNS, out=str(out), compression=compression) as writer:
        for batch in batches(lake):
            for sample in batch.to_pylist():
                writer.write(sample)


def bare_tokenizers(lake: Path) -> None:
    """Encode all texts, a row group at a time."""
    from tokenizers import Tokenizer

    bpe = Tokenizer.from_file(str(lake / "tokenizers" / "bench" / "tokenizer.json"))
    for batch in batches(lake):
        bpe.encode_batch_fast(batch["text"].to_pylist())


def n_tokens(lake: Path) -> None:
    """Count the tokens of all texts as a build does: a bound function over batches of keys and texts."""
    from udfs.tokens.tokenizer import TokenCount

    inputs = (
        pa.record_batch([batch["id"], batch["text"]], ["key", "text"])
        for large in batches(lake)
        for batch in (large.slice(start, 1024) for start in range(0, large.num_rows, 1024))
    )
    for _ in TokenCount(lake / "tokenizers").bind(("bench",)).answers(inputs):
        pass


def foundry(lake: Path, out: Path) -> None:
    """What convert_text_to_mds does, over half of the row groups in each of two processes."""
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(_foundry_group, [lake] * 2, [out / "0", out / "1"], range(2)))


def _foundry_group(lake: Path, out: Path, group: int) -> None:
    import numpy as np
    from streaming import MDSWriter
    from transformers import PreTrainedTokenizerFast

    bpe = PreTrainedTokenizerFast(tokenizer_file=str(lake / "tokenizers" / "bench" / "tokenizer.json"))
    bpe.model_max_length = 1 << 40
    buffer: list[int] = []
    with MDSWriter(columns={"tokens": "ndarray:int32"}, out=str(out), compression="zstd") as writer:
        for number, batch in enumerate(batches(lake)):
            for text in batch["text"].to_pylist() if number % 2 == group else ():
                buffer += [*bpe(text, truncation=False, padding=False)["input_ids"], 0]
                while len(buffer) >= 1024:
                    sample, buffer = buffer[:1024], buffer[1024:]
                    writer.write({"tokens": np.asarray(sample, np.int32)})


def cuvee(lake: Path, out: Path, *options: str) -> None:
    """The command."""
    from warehouse.cli.main import cli

    cli(["export", "blend", "--out", str(out), "--lake", str(lake), "--quiet", *options], standalone_mode=False)


WAYS: dict[str, Callable[[Path, Path], None]] = {
    "cuvee": lambda lake, out: cuvee(lake, out, "--format", "text"),
    "mdswriter": lambda lake, out: mdswriter(lake, out, None),
    "cuvee zstd:3": lambda lake, out: cuvee(lake, out, "--format", "text", "--compression", "zstd:3"),
    "mdswriter zstd:3": lambda lake, out: mdswriter(lake, out, "zstd:3"),
    "cuvee tokens": lambda lake, out: cuvee(lake, out, "--tokenizer", "bench", "--sequence-length", "1024"),
    "tokenizers": lambda lake, _: bare_tokenizers(lake),
    "n_tokens": lambda lake, _: n_tokens(lake),
    "llm-foundry": foundry,
}


def end_to_end(ways: list[str], lake: Path, scratch: Path, rounds: int, size: int) -> dict[str, Rate]:
    """The rates of each way, the best of some rounds."""
    best: dict[str, Rate] = {}
    for number in range(rounds):
        for way in ways if number % 2 else ways[::-1]:
            shutil.rmtree(lake / "shards", ignore_errors=True)
            out = scratch / "out"
            shutil.rmtree(out, ignore_errors=True)
            command = [sys.executable, __file__, "--run", way, str(lake), str(out)]
            began, spent = time.monotonic(), _children()
            subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
            rate = Rate(size / 1e6 / (time.monotonic() - began), size / 1e6 / (_children() - spent))
            best[way] = Rate(*map(max, rate, best.get(way, rate)))
    return best


class Rate(NamedTuple):
    """MB per second of time, and of CPU."""

    wall: float
    cpu: float = 0.0


def _children() -> float:
    """CPU seconds of processes that ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def encoder_alone(lake: Path, rounds: int) -> dict[str, float]:
    """MB/s from an Arrow batch of about 64 MB to the bytes of a shard, and back from a file, in this process."""
    from streaming import MDSWriter
    from streaming.base.format.mds.reader import MDSReader

    from warehouse.mds import encodings
    from warehouse.mds.reader import read_folder
    from warehouse.mds.writer import ShardWriter, encode, head

    found: list[pa.RecordBatch] = []
    for batch in batches(lake):
        found.append(batch)
        if sum(one.nbytes for one in found) > 60 << 20:
            break
    batch = pa.Table.from_batches(found).combine_chunks().to_batches()[0]
    columns = [(name, encodings.parse(COLUMNS[name])) for name in sorted(COLUMNS)]
    with tempfile.TemporaryDirectory() as folder:
        theirs = MDSWriter(columns=COLUMNS, out=str(Path(folder) / "x"), size_limit=None)

        def official() -> bytes:
            theirs.new_samples = [theirs.encode_sample(sample) for sample in batch.to_pylist()]
            shard: bytes = theirs.encode_joint_shard()
            return shard

        def ours() -> tuple[bytes, Any]:
            sizes, data = encode(batch, columns)
            return head(sizes, theirs.config_data), data  # written one after the other, never joined

        assert b"".join(ours()) == official()
        with ShardWriter(Path(folder) / "read", COLUMNS, size_limit=None, hashes=["sha256"]) as writer:
            writer.write(batch)
        entry = json.loads((Path(folder) / "read" / "index.json").read_bytes())["shards"][0]
        reader = MDSReader.from_json(folder, "read", entry)

        def read() -> list[pa.RecordBatch]:
            return list(read_folder(Path(folder) / "read"))

        def official_read() -> list[Any]:
            return [reader[number] for number in range(batch.num_rows)]

        assert sum(found.num_rows for found in read()) == batch.num_rows
        ways: dict[str, Callable[[], Any]] = {
            "cuvee": ours,
            "mdswriter": official,
            "read": read,
            "mdsreader": official_read,
        }
        best: dict[str, float] = {}
        for name in list(ways) * (2 * rounds):
            began = time.monotonic()
            ways[name]()
            best[name] = max(best.get(name, 0.0), batch.nbytes / 1e6 / (time.monotonic() - began))
        theirs.new_samples = []
    return best


def bare_compressor(lake: Path) -> float:
    """MB/s of zstd level 3 over shard-sized pieces of the same text, on two threads."""
    from concurrent.futures import ThreadPoolExecutor

    import zstandard

    pieces: list[bytes] = [b""]
    for batch in batches(lake):
        pieces[-1] += b"".join(text.encode() for text in batch["text"].to_pylist())
        if len(pieces[-1]) > 60 << 20:
            if len(pieces) == 4:
                break
            pieces.append(b"")
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda piece: zstandard.ZstdCompressor(level=3).compress(piece), pieces))
    return sum(map(len, pieces)) / 1e6 / (time.monotonic() - began)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", nargs=3, metavar=("WAY", "LAKE", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        way, lake_dir, out = options.run
        WAYS[way](Path(lake_dir), Path(out))
        return
    with tempfile.TemporaryDirectory() as scratch:
        lake, size = make_lake(Path(scratch), options.megabytes)
        print(f"{size / 1e6:,.0f} MB of text; MB/s, and the ratio to the peer")
        alone = encoder_alone(lake.root, options.rounds)
        show("encoder alone", Rate(alone["cuvee"]), "MDSWriter", Rate(alone["mdswriter"]))
        show("reading alone", Rate(alone["read"]), "Streaming", Rate(alone["mdsreader"]))
        text = [way for way in WAYS if way.startswith(("cuvee", "mdswriter")) and "tokens" not in way]
        best = end_to_end(text, lake.root, Path(scratch), options.rounds, size)
        show("lake to text shards", best["cuvee"], "MDSWriter", best["mdswriter"])
        show("the same, zstd:3", best["cuvee zstd:3"], "MDSWriter", best["mdswriter zstd:3"])
        show("", best["cuvee zstd:3"], "bare zstd", Rate(bare_compressor(lake.root)))
        small, size = make_lake(Path(scratch) / "small", max(1, options.megabytes // 10))
        tokens = [way for way in WAYS if way not in text]
        best = end_to_end(tokens, small.root, Path(scratch), options.rounds, size)
        show("lake to token shards", best["cuvee tokens"], "bare tokenizers", best["tokenizers"])
        show("n_tokens", best["n_tokens"], "bare tokenizers", best["tokenizers"])
        show("", best["cuvee tokens"], "llm-foundry's", best["llm-foundry"])


def show(what: str, ours: Rate, peer: str, theirs: Rate) -> None:
    """One line of the result."""
    ratios = f"{ours.wall / theirs.wall:6.2f} x" + (f"  CPU {ours.cpu / theirs.cpu:6.2f} x" if theirs.cpu else "")
    print(f"{what:22}{ours.wall:8,.0f}   {peer:16}{theirs.wall:8,.0f}   {ratios}", flush=True)


if __name__ == "__main__":
    main()
