"""The tests of mixtures, run by dbt with dbt-duckdb and by Cuvée over the same rows."""

from __future__ import annotations

from pathlib import Path

import duckdb

from tests.conformance.peer import judged_by_both, profile, run_dbt
from tests.helpers import install_package
from tests.warehouse.build.tests.mixture_project import CASES, give, project
from warehouse.lake.lake import Lake


def test_tests_of_mixtures_pass_and_fail_alike(dbt: Path, lake: Lake, tmp_path: Path) -> None:
    root = project(tmp_path, CASES)
    install_package(root)
    give(lake, tmp_path)
    with duckdb.connect(str(profile(root, "p"))) as database:
        database.execute("create schema raw")
        for table in ("documents", "occurrences"):
            database.register("rows", lake.cursor().execute(f"from raw.{table}").to_arrow_table())
            database.execute(f"create table raw.{table} as from rows")
    run_dbt(dbt, root, "--warn-error", "parse")
    found = judged_by_both(dbt, root, lake)
    counts = {key.split(".")[2]: failures for key, (status, failures) in found.items() if status in ("fail", "warn")}
    assert counts == {f"case_{number}": len(rows) for number, (*_, rows) in enumerate(CASES) if rows}
