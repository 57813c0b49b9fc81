"""Label statistics over millions of labelled documents, beside the same query on bare Parquet, pandas and polars.

    python tests/benchmarks/bench_agreement.py [--documents 10000000] [--peer-documents 1000000]

Two labelers label the same generated documents: FDC classes as often as they were observed in a crawl sample, other
codes skewed, the second labeler differing from the first in one document of seven. The labels lie in a lake, where the
shipped models are asked; the bare queries read the lake's Parquet files. Ratios are of the processor's seconds, since
other work on the machine counts in those by the clock. Every measurement is the best of ``--rounds``, DuckDB with 2
threads and 8 GB. pandas and polars are imported if they are there; they take the statistic from the same files.
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
from typing import Any, NamedTuple

import duckdb

from warehouse.project.options import Selection

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from udfs.errors import Location  # noqa: E402
from warehouse.answers import store  # noqa: E402
from warehouse.build.build import build  # noqa: E402
from warehouse.ingest.formats.essential_web import ANSWERS, FIELDS  # noqa: E402
from warehouse.lake.lake import Lake  # noqa: E402
from warehouse.project import project_files  # noqa: E402
from warehouse.render.renderer import Renderer  # noqa: E402

#: What DuckDB may use.
LIMITS = {"threads": "2", "memory_limit": "8GB"}
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
        files: dict[str, list[Path]] = {store_: [] for store_ in ("labels.eai", "main.tokens")}
        files["raw.occurrences"] = []
        for start in range(0, documents, 1_000_000):
            numbers = f"range({start}, {min(start + 1_000_000, documents)})"
            connection.execute(f"create or replace view part as select range as i from {numbers}")
            queries = [("labels.eai", labels(name)) for name in ("first", "second")]
            tokens = (
                f"select md5(i::varchar) as doc_id, (50 / (0.01 + {uniform('tokens')}))::bigint as n_tokens from part"
            )
            queries.append(("main.tokens", tokens))
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
            commit.sql("create or replace table lake.main.tokens (doc_id varchar, n_tokens bigint)")
            for table, paths in files.items():
                commit.add(table, paths)


#: Models that read every label.
DISTRIBUTIONS = (
    "label_distribution", "label_distribution_by_source", "label_distribution_by_month", "primary_and_secondary",
    "label_cooccurrence", "label_samples",
)  # fmt: skip


def built(lake: Lake, folder: Path) -> None:
    """The views of the shipped project in the lake. Labels and tokens are those generated: nothing calls a labeler."""
    shutil.copytree(ROOT / "sql", folder, ignore=shutil.ignore_patterns("target", "logs"))
    (folder / "models/labels/document_labels.sql").write_text("select doc_id from {{ source('raw', 'documents') }}")
    (folder / "models/labels/document_tokens.sql").write_text(
        "{{ config(materialized='view') }} select doc_id, n_tokens from main.tokens"
    )
    results = build(
        lake,
        folder,
        Selection(
            (
                "path:models/distributions",
                "path:models/labels",
                "path:seeds",
            )
        ),
    )
    if failed := [result for result in results if result.failed]:
        raise SystemExit(str(failed))


def bare(lake: Lake) -> duckdb.DuckDBPyConnection:
    """A connection where the lake's tables are Parquet files under the names that the models use."""
    connection = duckdb.connect(config=LIMITS)
    with lake.cursor() as cursor:
        for table, view in (
            ("labels.eai", "current_labels"), ("main.tokens", "document_tokens"),
            ("raw.occurrences", "raw.occurrences"),
            ("main.taxonomy", "taxonomy"), ("main.fdc", "fdc"),
        ):  # fmt: skip
            schema, name = table.split(".")
            files = [
                row[0]
                for row in cursor.execute(
                    f"select data_file from ducklake_list_files('lake', '{name}', schema => '{schema}')"
                ).fetchall()
            ]
            connection.execute("create schema if not exists raw")
            connection.execute(f"create view {view} as from read_parquet({files})")
    return connection


def body(lake: Lake, view: str) -> str:
    """The query of a view."""
    with lake.cursor() as cursor:
        row = cursor.execute(
            "select sql from duckdb_views() where database_name = 'lake' and view_name = ?", [view]
        ).fetchone()
    assert row is not None, view
    return str(row[0]).split(" AS ", 1)[1].rstrip(";")


class Taken(NamedTuple):
    """Seconds by the clock and of the processor, of which others on the machine take none."""

    clock: float
    processor: float

    def __str__(self) -> str:
        return f"{self.clock:.2f} s ({self.processor:.2f} s of the processor)"


def best(run: Callable[[], object], rounds: int) -> Taken:
    """The run of some that kept the processor least."""
    taken = []
    for _ in range(rounds):
        started, worked = time.perf_counter(), time.process_time()
        run()
        taken.append(Taken(time.perf_counter() - started, time.process_time() - worked))
    return min(taken, key=lambda each: each.processor)


def macro(call: str) -> str:
    """A call of the shipped project's macros as SQL."""
    return str(Renderer(project_files.load(ROOT / "sql")).value(call, Location("benchmark")))


PAIRS = "{{ label_pairs('current_labels') }}"
KAPPA = "{{ annotator_kappa('pairs', ['labeler_a', 'labeler_b', 'category'], n='documents') }}"
ERROR = "{{ annotator_kappa('pairs', ['labeler_a', 'labeler_b', 'category'], n='documents', replicates=100) }}"
CELLS = "{{ category_cells(\"(from current_labels where labeler = 'first')\") }}"
NMI = "{{ nmi('cells', ['labeler', 'category_x', 'category_y']) }}"


def steps(connection: duckdb.DuckDBPyConnection, *queries: tuple[str, str]) -> Callable[[], None]:
    """Makes one temporary table after another."""

    def run() -> None:
        for name, query in queries:
            connection.execute(f"create or replace temp table {name} as {query}")

    return run


def peers(connection: duckdb.DuckDBPyConnection, documents: int) -> None:
    """The counts behind kappa of one pair, and behind NMI of 45: by the models, by polars, by pandas."""
    connection.execute("create or replace temp table a as " + codes_query("first", documents))
    connection.execute("create or replace temp table b as " + codes_query("second", documents))
    tables = [connection.sql(f"from {name}").to_arrow_table() for name in "ab"]
    pairs = [(i, j) for i in range(10) for j in range(i + 1, 10)]
    sets = ", ".join(f"(a.p{i}, a.s{i}, b.p{i}, b.s{i})" for i in range(10))
    ours = {
        "pairs of labelers": lambda: connection.execute(
            f"select count(*) from (select count(*) from a join b using (doc_id) group by grouping sets ({sets}))"
        ).fetchall(),
        "pairs of categories": lambda: connection.execute(
            "select count(*) from (select count(*) from a group by grouping sets"
            f" ({', '.join(f'(p{i}, p{j})' for i, j in pairs)}))"
        ).fetchall(),
    }
    base = {name: best(run, 2) for name, run in ours.items()}
    for name, taken in base.items():
        print(f"  {name}: cuvee {taken} on {documents:,} documents")
    for peer in ("polars", "pandas"):
        if importlib.util.find_spec(peer) is None:
            print(f"  {peer} is missing, and so is its ratio; this installs it: {sys.executable} -m pip install {peer}")
            continue
        for name, taken in (with_polars if peer == "polars" else with_pandas)(tables, pairs).items():
            print(f"  {name}: {peer} {taken}, {taken.processor / base[name].processor:.1f} times cuvee's")


def codes_query(labeler: str, documents: int) -> str:
    """doc_id and 20 columns of codes by one labeler: peers know no structs."""
    columns = ", ".join(
        f"{f'left({name}.{rank}, 3)' if name == FIELDS[0] else f'{name}.{rank}'} as {rank[0]}{i}"
        for i, name in enumerate(FIELDS)
        for rank in ("primary", "secondary")
    )
    return f"select doc_id, {columns} from current_labels where labeler = '{labeler}' order by doc_id limit {documents}"


def with_polars(tables: list[Any], pairs: list[tuple[int, int]]) -> dict[str, Taken]:
    import polars as pl

    a, b = (pl.from_arrow(table) for table in tables)

    def labelers() -> None:
        met = a.join(b, on="doc_id", suffix="_b")
        for i in range(10):
            met.group_by(f"p{i}", f"s{i}", f"p{i}_b", f"s{i}_b").len()

    def categories() -> None:
        for i, j in pairs:
            a.group_by(f"p{i}", f"p{j}").len()

    return {"pairs of labelers": best(labelers, 2), "pairs of categories": best(categories, 2)}


def with_pandas(tables: list[Any], pairs: list[tuple[int, int]]) -> dict[str, Taken]:
    a, b = (table.to_pandas() for table in tables)

    def labelers() -> None:
        met = a.merge(b, on="doc_id", suffixes=("", "_b"))
        for i in range(10):
            met.groupby([f"p{i}", f"s{i}", f"p{i}_b", f"s{i}_b"], dropna=False).size()

    def categories() -> None:
        for i, j in pairs:
            a.groupby([f"p{i}", f"p{j}"], dropna=False).size()

    return {"pairs of labelers": best(labelers, 1), "pairs of categories": best(categories, 1)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=10_000_000)
    parser.add_argument("--peer-documents", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--lake", type=Path, help="a lake that an earlier run kept; made there if it is not")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-agreement-") as scratch:
        root = arguments.lake or Path(scratch) / "lake"
        if root.is_dir():
            lake = Lake.open(root)
        else:
            lake = Lake.create(root)
            generate(lake, arguments.documents)
        built(lake, Path(scratch) / "sql")
        with lake.cursor() as ours, bare(lake) as theirs:
            for name, value in LIMITS.items():
                ours.execute(f"set {name} = '{value}'")
            print(f"{arguments.documents:,} documents, two labelers, {LIMITS}")
            for view in DISTRIBUTIONS:
                query = body(lake, view)
                mine = best(steps(ours, ("result", f"from {view}")), arguments.rounds)
                hand = best(steps(theirs, ("result", query)), arguments.rounds)
                print(f"  {view}: {mine}, by hand {hand}, ratio {mine.processor / hand.processor:.2f}")
            for title, run in (
                ("kappa of one pair of labelers, 12 categories", (("pairs", macro(PAIRS)), ("kappas", macro(KAPPA)))),
                ("its standard errors, 100 bootstraps", (("errors", macro(ERROR)),)),
                ("NMI of all pairs of 12 categories", (("cells", macro(CELLS)), ("nmis", macro(NMI)))),
            ):
                print(f"  {title}: {best(steps(ours, *run), arguments.rounds)}")
            peers(theirs, arguments.peer_documents)


if __name__ == "__main__":
    main()
