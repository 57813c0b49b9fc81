"""The same projects, built by dbt with dbt-duckdb and by Cuvée: every relation has the same columns and rows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tests.conformance.generate import generate
from tests.conformance.peer import built_by_both, find_dbt, relations, run_dbt, types
from tests.helpers import PROJECTS, ROOT
from warehouse.lake.lake import Lake


def test_a_shop_with_packages_macros_ephemeral_and_incremental_models(dbt: Path, lake: Lake, tmp_path: Path) -> None:
    project = Path(shutil.copytree(PROJECTS / "shop", tmp_path / "shop"))
    names = built_by_both(dbt, project, "shop", lake, times=2)
    assert {"main_marts.customers", "main_marts.order_log", "main.stg_orders", "main.raw_orders"} <= set(names)


def test_macros_that_differ_between_databases(dbt: Path, lake: Lake, tmp_path: Path) -> None:
    project = Path(shutil.copytree(PROJECTS / "across", tmp_path / "across"))
    assert len(built_by_both(dbt, project, "across", lake)) == 17
    with duckdb.connect(str(project / "dbt.duckdb"), read_only=True) as connection:
        assert types(lake.cursor(), "lake") == types(connection, "dbt")


def test_a_hundred_models_and_three_hundred_tests(dbt: Path, lake: Lake, tmp_path: Path) -> None:
    project = generate(tmp_path / "generated", models=100)
    assert len(built_by_both(dbt, project, "generated", lake)) == 101


def test_every_way_of_adding_to_a_table(dbt: Path, lake: Lake, tmp_path: Path) -> None:
    settings = {
        "appended": "incremental_strategy='append'",
        "replaced": "unique_key='id'",
        "replaced_by_two": "unique_key=['id', 'a'], incremental_strategy='delete+insert'",
        "merged": "unique_key='id', incremental_strategy='merge'",
        "merged_in_part": "unique_key='id', incremental_strategy='merge', merge_update_columns=['a']",
        "merged_but": "unique_key='id', incremental_strategy='merge', merge_exclude_columns=['a']",
        "widened": "unique_key='id', on_schema_change='append_new_columns'",
        "synced": "unique_key='id', on_schema_change='sync_all_columns'",
    }
    project = tmp_path / "added"
    for folder in ("models", "seeds"):
        (project / folder).mkdir(parents=True)
    (project / "dbt_project.yml").write_text("name: added\nversion: '1.0'\nprofile: added\n")
    seed = project / "seeds/given.csv"
    seed.write_text("batch,id,a,b\n1,1,x,1\n1,2,x,1\n1,,x,1\n")
    for name, config in settings.items():
        more = ", 'more' as c" if name in ("widened", "synced") else ""
        (project / f"models/{name}.sql").write_text(
            f"{{{{ config(materialized='incremental', {config}) }}}}\n"
            f"select id, a, b{{% if is_incremental() %}}{more}{{% endif %}} from {{{{ ref('given') }}}}\n"
            "{% if is_incremental() %} where batch = 2{% endif %}\n"
        )
    built_by_both(dbt, project, "added", lake)
    seed.write_text(seed.read_text() + "2,2,y,2\n2,3,y,2\n2,,y,2\n")
    assert len(built_by_both(dbt, project, "added", lake)) == len(settings) + 1


def cuvee(folder: Path, *arguments: str) -> None:
    code = "from warehouse.cli.main import main; main()"
    environment = {name: value for name, value in os.environ.items() if name != "CUVEE_LAKE"} | {
        "PYTHONPATH": str(ROOT)
    }
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.timeout(1200)
def test_dbt_builds_the_pure_sql_part_of_a_users_project(
    dbt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = "{baseline_tokens: 40000, anneal_tokens: 15000}"
    cuvee(tmp_path, "init", "--example", "demo")
    cuvee(tmp_path, "deps")
    cuvee(tmp_path, "ingest", "--environment", "--limit-bytes", "600KB")
    cuvee(tmp_path, "build", "--select", "+train_documents")
    cuvee(tmp_path, "tokenizer", "train", "demo", "--from", "train_documents", "--vocab-size", "1024")
    cuvee(tmp_path, "build", "--vars", small)
    lake = Lake.open(tmp_path / "lake")
    monkeypatch.setenv("CUVEE_LAKE", str(lake.root))
    ours = relations(lake.cursor(), "lake")
    assert {"main.baseline", "main.upsampled_report", "main.taxonomy", "main.train_documents"} <= ours.keys()

    published = "{published_mixtures: true, published_components: {code: \"component = 'code'\"}}"
    for each in (dbt, find_dbt("CUVEE_PEERS", ".venv-peers")):  # 1.11, then 1.12 over the tables of 1.11
        run_dbt(each, tmp_path, "deps")
        run_dbt(each, tmp_path, "--warn-error", "parse")
        run_dbt(each, tmp_path, "--warn-error", "parse", "--vars", published)
        before = lake.snapshot()
        run_dbt(each, tmp_path, "build", "--exclude", "tag:cuvee_function", "--vars", small)
        theirs = relations(lake.cursor(), "lake")
        assert lake.snapshot() > before
        assert ours.keys() == theirs.keys()
        for name, rows in ours.items():
            assert theirs[name] == rows, name
