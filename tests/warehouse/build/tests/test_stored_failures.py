"""Keeping the rows that break tests, and what tests say of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.helpers import CUVEE, write
from tests.warehouse.helpers import build, why
from warehouse.lake.lake import Lake

SCHEMA = "models: [{{name: m, columns: [{{name: n, data_tests: [{{not_null: {{config: {config}}}}}]}}]}}]"
TABLE = "main_dbt_test__audit.not_null_m_n"


def project(folder: Path, config: str) -> Path:
    return write(
        folder / "p",
        {
            "dbt_project.yml": "name: p\nmodels: {p: {+materialized: table}}",
            "models/m.sql": "select * from (values (1), (null)) as t(n)",
            "models/schema.yml": SCHEMA.format(config=config),
        },
    )


def cuvee(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*CUVEE, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)


def count(lake: Lake, table: str) -> int:
    row = lake.cursor().execute(f"select count(*) from lake.{table}").fetchone()
    assert row is not None
    return int(row[0])


def test_rows_that_break_a_test_are_kept_and_named(lake: Lake, tmp_path: Path) -> None:
    root = project(tmp_path, "{store_failures: true}")
    result = build(lake, root)["not_null_m_n"]
    assert (result.status, result.message) == ("fail", f"1 row break it; they are in {TABLE}")
    assert count(lake, TABLE) == 1
    write(root, {"models/m.sql": "select 1 as n"})
    assert build(lake, root)["not_null_m_n"].status == "pass"
    assert count(lake, TABLE) == 0, "a test that passes leaves no rows of the last time"
    assert why(lake, root) == {}
    with lake.commit("someone else") as commit:
        commit.sql(f"drop table lake.{TABLE}")
    assert why(lake, root) == {"not_null_m_n": "its failures are not kept yet"}
    write(root, {"models/schema.yml": SCHEMA.format(config="{store_failures_as: view}")})
    build(lake, root)
    assert why(lake, root) == {}
    kinds = lake.cursor().execute("select table_type from information_schema.tables where table_name = 'not_null_m_n'")
    assert kinds.fetchall() == [("VIEW",)]
    write(root, {"models/schema.yml": SCHEMA.format(config="{store_failures: false}")})
    assert why(lake, root) == {}, "to keep them no longer is no reason to test again"


def test_the_flag_keeps_failures_of_tests_that_say_nothing(tmp_path: Path) -> None:
    root = project(tmp_path, "{severity: warn}")
    cuvee(tmp_path, "init")
    cuvee(tmp_path, "build", "--project-dir", str(root))
    done = cuvee(tmp_path, "test", "--project-dir", str(root), "--store-failures")
    assert f"they are in {TABLE}" in done.stderr
    assert "1 warn" in done.stdout
    assert json.loads(cuvee(tmp_path, "sql", f"select count(*) as n from {TABLE}", "--json").stdout) == [{"n": 1}]
    done = cuvee(tmp_path, "build", "--project-dir", str(root), "--store-failures")
    assert "2 unchanged" in done.stdout


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{store_failures_as: tables}", "did you mean table?"),
        ("{error_if: many}", "'many' is not a valid condition"),
        ("{error_if: '+ 1'}", "'+ 1' is not a valid condition"),
        ("{severity: mild}", "severity is error or warn, not 'mild'"),
    ],
)
def test_settings_that_cannot_be(lake: Lake, tmp_path: Path, config: str, said: str) -> None:
    result = build(lake, project(tmp_path, config))["not_null_m_n"]
    assert result.status == "error"
    assert said in result.message
    assert "models/schema.yml:1" in result.message


def test_a_custom_schema_name_and_a_name_in_use(lake: Lake, tmp_path: Path) -> None:
    root = project(tmp_path, "{store_failures: true, schema: main, alias: m}")
    macro = "{% macro generate_schema_name(name, node) %}{{ name or target.schema }}{% endmacro %}"
    write(root, {"macros/n.sql": macro})
    result = build(lake, root)["not_null_m_n"]
    assert result.status == "error"
    assert "failures of test not_null_m_n would be kept in main.m, which is model m" in result.message
    assert count(lake, "main.m") == 2
