"""Vectorized functions give the same in a build, in DuckDB itself and in `cuvee sql`; a build computes them once."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers import CUVEE
from udfs.registry import VECTORIZED, Resources, expensive_functions
from udfs.text.quality_signals import QualitySignals
from warehouse.build.build import build
from warehouse.build.scalar_functions import register
from warehouse.lake.lake import Lake

TEXTS = ["a b a b", "", "The LAST words...\n", "中文 " * 40]


@pytest.fixture
def functions(tmp_path: Path) -> dict[str, object]:
    return dict(expensive_functions(Resources((tmp_path,), tmp_path)))


@pytest.fixture
def filled(lake: Lake) -> Lake:
    rows = {"doc_id": [f"{n:032}" for n in range(len(TEXTS))], "text": TEXTS, "n_chars": [*map(len, TEXTS)]}
    with lake.staging() as staging:
        path = staging.file("raw.documents")
        pq.write_table(pa.table(rows | {"first_file_id": ["f"] * len(TEXTS)}), path)
        with lake.commit("documents", author="test") as commit:
            commit.add("raw.documents", [path])
    return lake


def project(folder: Path, sql: str) -> Path:
    (folder / "models").mkdir(parents=True)
    (folder / "dbt_project.yml").write_text("name: p\nversion: '1'\nmodels: {+materialized: table}\n")
    (folder / "models/measured.sql").write_text(sql)
    return folder


def test_a_build_and_duckdb_give_the_same(filled: Lake, tmp_path: Path, functions: dict[str, object]) -> None:
    query = "select text, quality_signals(text) as s from raw.documents"
    assert [each.status for each in build(filled, project(tmp_path / "sql", query))] == ["built"]
    built = filled.cursor().execute("select s from lake.main.measured order by text").fetchall()
    connection = duckdb.connect()
    register(connection, functions)  # type: ignore[arg-type]
    connection.register("documents", pa.table({"text": TEXTS}))
    assert connection.execute("select quality_signals(text) from documents order by text").fetchall() == built
    assert connection.execute("select quality_signals(null)").fetchone() == (None,)
    assert connection.execute("select quality_signals(text) from documents limit 0").fetchall() == []
    with pytest.raises(duckdb.Error, match="quality_signals takes a text only"):
        connection.execute("select quality_signals('a', 'b')")


def test_a_definition_that_changes_is_computed_again(filled: Lake, tmp_path: Path) -> None:
    folder = project(tmp_path / "sql", "select doc_id, quality_signals(text) as s from raw.documents")
    current = QualitySignals()
    bound = current.bind(())

    class Changed:
        name = "quality_signals"

        def bind(self, options: tuple[object, ...]) -> object:
            return replace(bound, fingerprint="1" * 32)

    def statuses(function: object) -> list[str]:
        return [each.status for each in build(filled, folder, functions={"quality_signals": function})]  # type: ignore[dict-item]

    assert statuses(current) == ["built"]
    assert statuses(current) == ["unchanged"]
    assert statuses(Changed()) == ["built"]
    stored = "select fingerprint, count(*) from lake.signals.quality_signals group by all order by all"
    assert {*filled.cursor().execute(stored).fetchall()} == {(bound.fingerprint, 4), ("1" * 32, 4)}


def test_an_empty_lake_has_signals_of_nothing(lake: Lake, tmp_path: Path) -> None:
    folder = project(tmp_path / "sql", "select doc_id, quality_signals(text) as s from raw.documents")
    assert [each.status for each in build(lake, folder)] == ["built"]
    assert lake.cursor().execute("select count(*) from lake.main.measured").fetchone() == (0,)


def test_cuvee_sql_knows_them(lake: Lake) -> None:
    statement = "select quality_signals('a b a b').rps_doc_word_count as words"
    command = [*CUVEE, "sql", "--json", "--lake", str(lake.root), statement]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '"words": 4' in done.stdout


def test_all_vectorized_functions_are_functions(functions: dict[str, object]) -> None:
    assert set(VECTORIZED) < set(functions)
