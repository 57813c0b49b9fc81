"""dbt with dbt-duckdb beside Cuvée: how both build a project, and what there is to compare."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import duckdb

from tests.helpers import ROOT, absent
from tests.helpers import write as write_files
from warehouse.build import build as building
from warehouse.build.build_options import BuildOptions
from warehouse.lake.lake import Lake

QUIET = {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DBT_USE_COLORS": "false", "NO_COLOR": "1"}


def find_dbt(variable: str, folder: str) -> Path:
    """dbt's command in an environment. `make services` makes it; elsewhere its absence is a reason to skip."""
    command = Path(os.environ.get(variable, ROOT / folder)) / "bin" / "dbt"
    if not command.exists():
        absent(f"no dbt at {command}: make services installs it")
    return command


def run_dbt(dbt: Path, project: Path, *arguments: str, code: int | None = 0) -> None:
    """Run a command of dbt. It must end with ``code``; any will do if that is None."""
    done = subprocess.run(
        [dbt, *arguments, "--profiles-dir", "."],
        cwd=project,
        env=os.environ | QUIET,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert code in (None, done.returncode), done.stdout[-4000:]


def write(project: Path, files: dict[str, str]) -> Path:
    """A project of these files, with a profile of its folder's name."""
    write_files(project, files)
    profile(project, project.name)
    return project


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


def judged_by_both(dbt: Path, project: Path, lake: Lake, *flags: str, **options: Any) -> dict[str, tuple[str, int]]:
    """Build with both, some tests failing; compares and returns what became of each node: id → status, failures."""
    run_dbt(dbt, project, "build", *flags, code=1)
    results = project / "target" / "run_results.json"
    theirs = said(json.loads(results.read_text()))
    building.build(lake, project, options=BuildOptions(**options))
    assert said(json.loads(results.read_text())) == theirs
    return theirs


def said(run_results: dict[str, Any]) -> dict[str, tuple[str, int]]:
    return {each["unique_id"]: (each["status"], each["failures"] or 0) for each in run_results["results"]}
