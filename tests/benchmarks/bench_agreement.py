"""Label statistics over millions of labelled documents, beside the same query on bare Parquet, pandas and polars.

    python tests/benchmarks/bench_agreement.py [--documents 10000000] [--peers pandas,polars]

Two labelers label the same generated documents: FDC classes as often as they were observed in a crawl sample, other
codes skewed, the second labeler differing from the first in one document of seven. The labels lie in a lake, where the
shipped models are asked; the bare queries read the lake's Parquet files. Every measurement is the best of
``--rounds``, DuckDB with 2 threads and 8 GB. pandas and polars are imported if they are there; they take the statistic
from the same files.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from warehouse import build as building  # noqa: E402
from warehouse import store  # noqa: E402
from warehouse.ingest.essential_web import ANSWERS, FIELDS  # noqa: E402
from warehouse.lake import Lake  # noqa: E402
from warehouse.opened import open_project  # noqa: E402

#: FDC prefixes and their documents among 40.3 million of a late crawl, as users of Essential-Web counted them.
OBSERVED = {
    "60 62 66 67 68 69": 5406635, "64": 4702323, "79": 4209970, "30 31 35 36 38 39 92": 3635406,
    "70 71 72 73 74 75 76 77 78": 3228105, "00": 3032580, "65": 2908173, "33": 2656396, "61": 2637260,
    "32 34": 1609379, "37": 1095972, "63": 969577,
    "20 21 22 23 24 25 26 27 28 29": 741405, "91": 694088, "50 52 55 56 57 58 59": 649420,
    "80 81 82 83 84 85 86 87 88 89": 510058, "01 02 03 04 05 06 07 08 09": 481019,
    "10 11 12 13 14 15 16 17 18 19": 416673, "90 93 94 95 96 97 98 99": 328646, "53 54": 179220,
    "40 41 42": 144223, "51": 107146,
}  # fmt: skip
#: Codes of the other categories, the first and how many.
CODES = {
    "bloom_cognitive_process": (1, 6), "bloom_knowledge_domain": (1, 4), "document_type_v1": (1, 17),
    "extraction_artifacts": (0, 5), "missing_content": (0, 7), "document_type_v2": (1, 25), "reasoning_depth": (1, 6),
    "technical_correctness": (1, 6), "education_level": (1, 5),
}  # fmt: skip


def uniform(*salt: object) -> str:
    """SQL of a number in [0, 1) for document i; those of different salts have nothing to do with each other."""
    return f"(hash(i * 4294967296 + {zlib.crc32(repr(salt).encode())}) / 18446744073709551616.0)"


def labels(labeler: str) -> str:
    """SQL of one labeler's rows of the store, for the documents i of a table ``part``."""

    def drawn(category: str, rank: str) -> str:
        own = f"case when {uniform(category, 'differs')} < 1 / 7 then {uniform(labeler, category, rank)}"
        return uniform(category, rank) if labeler == "first" else f"{own} else {uniform(category, rank)} end"

    def fdc(rank: str) -> str:
        u = drawn("fdc", rank)
        digit = f"floor(10 * pow({uniform('fdc digit', rank)}, 2))::int"
        decimals = f"['', '.1', '.23'][1 + floor({u} * 99991)::int % 3]"
        return f"prefixes[1 + floor({u} * len(prefixes))::int] || {digit} || {decimals}"

    def code(category: str, rank: str) -> str:
        first, many = CODES[category]
        return f"({first} + floor({many} * pow({drawn(category, rank)}, 3))::int)::varchar"

    columns = []
    for category in FIELDS:
        make = (
            fdc if category == "free_decimal_correspondence" else lambda rank, category=category: code(category, rank)
        )
        columns.append(
            f'struct_pack("primary" := {make("primary")}, secondary := nullif(case when {uniform(category, "second")}'
            f" < 0.6 then {make('secondary')} end, {make('primary')})) as {category}"
        )
    return (
        f"select md5(i::varchar) as doc_id, '{labeler}' as labeler, '{labeler}' as fingerprint, 'ok' as status,"
        f" {', '.join(columns)}, null::varchar as raw, null::bigint as tokens, timestamptz '2026-01-01' as labelled_at"
        " from part, prefixes"
    )


def generate(lake: Lake, documents: int) -> None:
    """Labels by two labelers, an occurrence and a number of tokens for every document, in files of a million."""
    shares = {prefix: n / len(key.split()) for key, n in OBSERVED.items() for prefix in key.split()}
    whole = sum(shares.values())
    prefixes = [prefix for prefix, n in shares.items() for _ in range(max(1, round(4000 * n / whole)))]
    with lake.staging() as staging, duckdb.connect() as connection:
        connection.execute("set threads = 2; set timezone = 'UTC'")
        connection.execute("create table prefixes as select ? as prefixes", [prefixes])
        files: dict[str, list[Path]] = {store_: [] for store_ in ("labels.eai", "main.document_tokens")}
        files["raw.occurrences"] = []
        for start in range(0, documents, 1_000_000):
            numbers = f"range({start}, {min(start + 1_000_000, documents)})"
            connection.execute(f"create or replace view part as select range as i from {numbers}")
            queries = [("labels.eai", labels(name)) for name in ("first", "second")]
            tokens = f"select md5(i::varchar) as doc_id, (50 / (0.01 + {uniform('tokens')}))::bigint as n_tokens from part"
            queries.append(("main.document_tokens", tokens))
            found = (
                "select md5(i::varchar) as doc_id, 'web' as source, 'https://example.org/' || i as url,"
                f" null::varchar as source_id, timestamptz '2020-01-01' + to_days(({uniform('day')} * 1500)::int)"
                " as published_at, null::varchar as licence, null::json as metadata, 'f' as file_id, i as position"
                " from part"
            )
            queries.append(("raw.occurrences", found))
            for table, query in queries:
                path = staging.file(table, source="web") if table == "raw.occurrences" else staging.file(table)
                connection.execute(f"copy ({query}) to '{path}' (format parquet, compression zstd)")
                files[table].append(path)
        with lake.commit("generated") as commit:
            store.ensure(commit, "labels.eai", ANSWERS)
            commit.sql("create or replace table lake.main.document_tokens (doc_id varchar, n_tokens bigint)")
            for table, paths in files.items():
                commit.add(table, paths)
