"""Benchmarks are ingested, documents are compared with them, and mixtures draw from what is left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import SQL, write
from warehouse.answers.call_stats import CallStats
from warehouse.build import build_cache
from warehouse.build.build import build
from warehouse.build.build_options import BuildOptions
from warehouse.build.execution.build_run import BuildCallback
from warehouse.graph.loaded_project import open_project
from warehouse.ingest.inputs import find_inputs
from warehouse.ingest.records import IngestOptions
from warehouse.ingest.run import ingest
from warehouse.lake import benchmarks
from warehouse.lake.lake import Lake
from warehouse.project.options import Selection

ITEM = "Janet's ducks lay 16 eggs per day; she eats three for breakfast every morning, and sells the rest."
OTHER = "A robe takes 2 bolts of blue fiber and half that much white fiber, so how many does it take?"


class Counting(BuildCallback):
    """Remembers how many texts each function was asked."""

    def __init__(self) -> None:
        self.asked: dict[str, int] = {}

    def answering(self, tally: CallStats) -> Callable[[CallStats], None]:
        self.asked[tally.title.partition("(")[0]] = tally.missing
        return super().answering(tally)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that uses Cuvée's models of contamination."""
    return write(tmp_path / "project", {"dbt_project.yml": "name: p\nmodels: {cuvee: {}}"})


def add(lake: Lake, folder: Path, source: str, *texts: str) -> None:
    path = folder / f"{source.replace('/', '-')}-{abs(hash(texts))}.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    ingest(lake, find_inputs([str(path)]), IngestOptions(source=source))


def asked(lake: Lake, project: Path) -> dict[str, int]:
    watcher = Counting()
    results = build(lake, project, Selection(("+contaminated_documents",)), callback=watcher)
    assert not [result for result in results if result.failed]
    return watcher.asked


def flagged(lake: Lake) -> list[tuple]:
    return (
        lake.cursor()
        .execute(
            "select d.text, c.benchmark, c.n_grams, c.position from lake.main.contaminated_documents as c"
            " join lake.raw.documents as d using (doc_id) order by all"
        )
        .fetchall()
    )


def test_each_change_costs_what_it_changes(lake: Lake, project: Path, tmp_path: Path) -> None:
    quoting = f"See: {ITEM.upper()}"
    add(lake, tmp_path, "web", "nothing of interest", quoting)
    assert asked(lake, project) == {"contamination": 2}
    assert flagged(lake) == []

    add(lake, tmp_path, "benchmarks/eggs", ITEM)
    assert asked(lake, project) == {"contamination": 2, "item_ngrams": 1}  # the item itself is no document to compare
    assert flagged(lake) == [(quoting, "eggs", 7, 6)]

    add(lake, tmp_path, "web", f"more of it: {ITEM}")
    assert asked(lake, project) == {"contamination": 1}
    assert len(flagged(lake)) == 2

    add(lake, tmp_path, "benchmarks/robes", OTHER)
    assert asked(lake, project) == {"contamination": 3, "item_ngrams": 1}
    assert asked(lake, project) == {}


def test_an_unchanged_build_asks_neither_duckdb_nor_the_items(lake: Lake, project: Path, tmp_path: Path) -> None:
    add(lake, tmp_path, "benchmarks", ITEM)
    asked(lake, project)
    elsewhere = Lake(lake.root)
    known = benchmarks.LakeBenchmarks(lake)
    assert known.fingerprint == benchmarks.Remembered(elsewhere).fingerprint != ""
    assert list(known.items()) == list(benchmarks.Remembered(lake).items()) == [("benchmarks", ITEM)]
    ground = [("contamination", (), open_project(lake, project).functions["contamination"].bind(()).fingerprint)]
    assert build_cache._same_functions(lake, project, ground)
    add(lake, tmp_path, "web", "another document")
    assert benchmarks.Remembered(lake).fingerprint == "", "something was ingested: it has to be looked at"
    assert benchmarks.LakeBenchmarks(lake).fingerprint == known.fingerprint


def test_the_shipped_project_plans_without_a_benchmark(lake: Lake) -> None:
    opened = open_project(lake, SQL)
    assert opened.functions["contamination"].bind(()).fingerprint
    sql = {name: opened.graph.steps[f"model.cuvee.{name}"].sql for name in ("train_pool",)}
    assert "contaminated_documents" in sql["train_pool"]
    for value, holds in (("bloom", "document_contamination"), ("off", "n_tokens > 0")):
        again = open_project(lake, SQL, BuildOptions(variables={"decontamination": value}))
        text = again.graph.steps["model.cuvee.train_pool"].sql
        assert holds in text and "contaminated_documents" not in text


def test_another_word_for_decontamination_is_an_error(lake: Lake) -> None:
    from udfs.errors import CuveeError

    with pytest.raises(CuveeError, match="exact, bloom or off, not exakt"):
        open_project(lake, SQL, BuildOptions(variables={"decontamination": "exakt"}))
