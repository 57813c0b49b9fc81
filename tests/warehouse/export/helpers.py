"""Small lakes with documents, a mixture and a tokenizer, made without ingest or the builder."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.helpers import doc_id
from udfs.tokens.tokenizer import Tokenizer
from warehouse.export.packing import Packing
from warehouse.export.write import ExportRequest, ExportResult, export
from warehouse.lake.lake import Lake

WORDS = ("shard", "sample", "stream", "naïve", "東京", "кувée", "\n\n", "return", "def", "import", "the", "of", "to")


def texts(count: int, seed: int = 0, words: int = 60) -> list[str]:
    """Distinct texts of different lengths."""
    chance = random.Random(seed)
    return [
        f"{seed} {number} " + " ".join(chance.choices(WORDS, k=chance.randint(1, 2 * words))) for number in range(count)
    ]


def add_documents(lake: Lake, documents: Iterable[str], row_group_size: int = 50) -> None:
    documents = list(documents)
    table = pa.table(
        {
            "doc_id": [doc_id(text) for text in documents],
            "text": documents,
            "n_chars": pa.array([len(text) for text in documents], pa.int64()),
            "first_file_id": ["file"] * len(documents),
        }
    )
    with lake.staging() as staging:
        path = staging.file("raw.documents")
        pq.write_table(table, path, row_group_size=row_group_size, compression="zstd")
        with lake.commit("documents") as commit:
            commit.add("raw.documents", [path])


def add_mixture(lake: Lake, name: str, rows: Mapping[tuple[str, str], tuple[int, int]]) -> None:
    """Enter a mixture into a lake: (text, component) → (copies, n_tokens)."""
    table = pa.table(
        {
            "doc_id": [doc_id(text) for text, _ in rows],
            "component": [component for _, component in rows],
            "copies": pa.array([copies for copies, _ in rows.values()], pa.int64()),
            "n_tokens": pa.array([tokens for _, tokens in rows.values()], pa.int64()),
        }
    )
    with lake.staging() as staging:
        path = staging.file(f"main.{name}")
        pq.write_table(table, path)
        columns = "select '' as doc_id, '' as component, 1::bigint as copies, 1::bigint as n_tokens"
        with lake.commit(name) as commit:
            commit.replace(f"main.{name}", columns, [path])


def add_tokenizer(lake: Lake, name: str, bpe: Tokenizer) -> None:
    """Put a trained tokenizer into a lake under a name."""
    shutil.copytree(bpe.path.parent, lake.root / "tokenizers" / name)
    with lake.commit(f"tokenizer {name}") as commit:
        row = [name, bpe.fingerprint, bpe.vocab_size, "texts", 300]
        commit.sql("insert into cuvee.tokenizers values (?, ?, ?, ?, ?, now())", row)


def blend(
    pool: dict[str, list[str]], bpe: Tokenizer, more: int = 40, prose: int = 120
) -> dict[tuple[str, str], tuple[int, int]]:
    """Rows of a mixture: a prefix of code in md5 order three times, the rest twice; a prefix of prose; the crawl."""
    lengths = {text: len(ids) for part in pool.values() for text, ids in zip(part, bpe.encode_batch(part), strict=True)}
    rows: dict[tuple[str, str], tuple[int, int]] = {}
    for component, part in pool.items():
        for rank, text in enumerate(
            sorted(part, key=lambda text: hashlib.md5(f"17:{doc_id(text)}".encode()).hexdigest())
        ):
            copies = {"code": 3 if rank < more else 2, "prose": 1 if rank < prose else 0}.get(component, 1)
            if copies:
                rows[text, component] = (copies, lengths[text])
    return rows


def run(lake: Lake, out: Path, packing: Packing, mixture: str = "blend", **options: object) -> ExportResult:
    return export(lake, ExportRequest(mixture, out, packing, **options))  # type: ignore[arg-type]
