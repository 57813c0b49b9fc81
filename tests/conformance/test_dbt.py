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
from warehouse import build as building
from warehouse.lake import Lake

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = ROOT / "tests" / "fixtures" / "projects"
QUIET = {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DBT_USE_COLORS": "false", "NO_COLOR": "1"}


@pytest.fixture(scope="module")
def dbt() -> Path:
    """dbt's command. `make test` installs it; elsewhere its absence is a reason to skip."""
    command = Path(os.environ.get("CUVEE_PEERS", ROOT / ".venv-peers")) / "bin" / "dbt"
    if not command.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"no dbt at {command}")
        pytest.skip(f"no dbt at {command}: make test installs it")
    return command


def run_dbt(dbt: Path, project: Path, *arguments: str) -> None:
    done = subprocess.run(
        [dbt, *arguments, "--profiles-dir", "."],
        cwd=project,
        env=os.environ | QUIET,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def profile(project: Path, name: str) -> Path:
    """Point a project at a database file beside it; returns the file."""
    database = project / "dbt.duckdb"
    (project / "profiles.yml").write_text(
        f"{name}:\n  target: dev\n  outputs:\n    dev: {{type: duckdb, path: '{database}', schema: main, threads: 2}}\n"
    )
    return database


def relations(connection: duckdb.DuckDBPyConnection, catalog: str) -> dict[str, tuple[list[str], list[str]]]:
    """Column names, and rows as text in an order of their own, of every table and view outside Cuvée's own schemas."""
    found = connection.execute(
        "select table_schema, table_name from information_schema.tables"
        " where table_catalog = ? and (table_schema = 'main' or table_schema like 'main\\_%' escape '\\')",
        [catalog],
    ).fetchall()
    result = {}
    for schema, table in found:
        rows = connection.execute(f'from "{catalog}"."{schema}"."{table}"')
        names = [column[0].lower() for column in rows.description or ()]
        result[f"{schema}.{table}"] = (names, sorted(map(repr, rows.fetchall())))
    return result


def types(connection: duckdb.DuckDBPyConnection, catalog: str) -> dict[str, list[str]]:
    """The columns' types of every table and view. A lake has no HUGEINT: what DuckDB makes one is a BIGINT there."""
    found = connection.execute(
        "select schema_name || '.' || table_name, list(replace(data_type, 'HUGEINT', 'BIGINT') order by column_index)"
        " from duckdb_columns() where database_name = ? and schema_name like 'main%' and not internal group by all",
        [catalog],
    )
    return dict(found.fetchall())


def built_by_both(dbt: Path, project: Path, name: str, lake: Lake, times: int = 1) -> list[str]:
    """Build with both, compare, and return the relations' names."""
    database = profile(project, name)
    for _ in range(times):
        run_dbt(dbt, project, "build")
        results = building.build(lake, project)
        assert not [result for result in results if result.failed]
    with duckdb.connect(str(database), read_only=True) as connection:
        theirs = relations(connection, "dbt")
    ours = relations(lake.cursor(), "lake")
    assert ours.keys() == theirs.keys()
    for each, rows in theirs.items():
        assert ours[each] == rows, each
    return sorted(theirs)


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
    code = "from warehouse.cli import main; main()"
    environment = {name: value for name, value in os.environ.items() if name != "CUVEE_LAKE"} | {
        "PYTHONPATH": str(ROOT)
    }
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.timeout(300)
def test_dbt_builds_the_pure_sql_part_of_our_own_project(
    dbt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "sql", tmp_path / "sql", ignore=shutil.ignore_patterns("target", "logs"))
    run_dbt(dbt, tmp_path / "sql", "--warn-error", "parse")

    small = "{baseline_tokens: 40000, anneal_tokens: 15000}"
    cuvee(tmp_path, "init")
    cuvee(tmp_path, "ingest", "--environment", "--limit-bytes", "600KB")
    cuvee(tmp_path, "build", "--select", "+train_documents")
    cuvee(tmp_path, "tokenizer", "train", "demo", "--from", "train_documents", "--vocab-size", "1024")
    cuvee(tmp_path, "build", "--vars", small)
    lake = Lake.open(tmp_path / "lake")
    ours = relations(lake.cursor(), "lake")
    before = lake.snapshot()

    monkeypatch.setenv("CUVEE_LAKE", str(lake.root))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # where `pip install cuvee` would have put the plugin
    run_dbt(dbt, tmp_path / "sql", "build", "--exclude", "document_labels", "document_tokens", "--vars", small)
    theirs = relations(lake.cursor(), "lake")
    assert lake.snapshot() > before
    assert {"main.baseline", "main.upsampled_report", "main.taxonomy", "main.train_documents"} <= theirs.keys()
    assert ours.keys() == theirs.keys()
    for each, rows in ours.items():
        assert theirs[each] == rows, each
