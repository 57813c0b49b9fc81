"""cuvee sql: several statements, and the forms in which rows are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

from udfs.errors import CuveeError, UsageError
from warehouse.cli.lake.sql import sql
from warehouse.lake.lake import Lake


def ask(lake: Lake, *arguments: object) -> str:
    """What is printed. Mistakes are raised."""
    command = [*map(str, arguments), "--lake", str(lake.root)]
    answer: Any = CliRunner().invoke(sql, command, catch_exceptions=False)
    return str(answer.stdout)


def test_several_statements_are_answered_in_order(lake: Lake) -> None:
    words = ask(lake, "select ';' as a; set threads = 1; select 2 as b -- ; not here").split()
    assert words == ["a", "─", ";", "b", "─", "2"]
    assert json.loads(ask(lake, "--json", "select 1 as a; select 2 as b, null as c")) == [
        [{"a": 1}],
        [{"b": 2, "c": None}],
    ]
    assert json.loads(ask(lake, "--json", "set threads = 1; select 1 as a;")) == [{"a": 1}]
    assert json.loads(ask(lake, "--json", "set threads = 1")) == []
    pivoted = "pivot (select 1 as a, 'q' as b) on b using sum(a)"  # two statements to DuckDB
    assert json.loads(ask(lake, "--json", pivoted)) == [{"q": 1}]
    with pytest.raises(UsageError, match="empty"):
        ask(lake, " ; -- nothing")


def test_a_mistake_in_a_later_statement_is_named_before_anything_runs(lake: Lake) -> None:
    with pytest.raises(UsageError, match='near "selec"'):
        ask(lake, "select 1; selec 2")


def test_forms(lake: Lake) -> None:
    query = "select 1 as a, null as b, {'x': ['y']} as c"
    assert ask(lake, "--csv", query) == ask(lake, "--format", "csv", query) == 'a,b,c\n1,,"{""x"": [""y""]}"\n'
    assert ask(lake, "--format", "json", query) == ask(lake, "--json", query)
    markdown = ask(lake, "--format", "markdown", "select 1 as a; select 2 as b")
    assert markdown == "| a |\n| ---: |\n| 1 |\n\n| b |\n| ---: |\n| 2 |\n"
    assert ask(lake, "--csv", "set threads = 1; from range(3000)").count("\n") == 3001
    for wrong in (["--csv", "--json"], ["--format", "markdown", "--csv"], ["--force"]):
        with pytest.raises(UsageError):
            ask(lake, *wrong, query)
    with pytest.raises(UsageError, match="2 statements have rows"):
        ask(lake, "--csv", "select 1; select 2")


def test_parquet(lake: Lake, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    assert (
        ask(lake, "--parquet", path, "select range as n, '' as t from range(1234)") == f"1,234 rows written to {path}\n"
    )
    assert duckdb.sql(f"select count(*), sum(n), any_value(t) from '{path}'").fetchall() == [(1234, 760761, "")]
    with pytest.raises(UsageError, match="exists"):
        ask(lake, "--parquet", path, "select 1")
    with pytest.raises(CuveeError, match="too late"):
        ask(lake, "--parquet", path, "--force", "select if(range = 90000, error('too late'), 1) from range(100000)")
    assert duckdb.sql(f"from '{path}'").shape == (1234, 2)  # the old file is whole
    said = ask(lake, "--parquet", path, "--force", "--json", "set threads = 1; from raw.files")
    assert json.loads(said) == {"file": str(path), "rows": 0}
    assert [each.name for each in tmp_path.iterdir() if each != lake.root] == ["rows.parquet"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parquet", "no/such/rows.parquet", "select 1"], "no folder"),
        (["--parquet", "rows.parquet", "set threads = 1"], "no rows"),
        (["--parquet", "rows.parquet", "select 1; select 2"], "2 statements"),
        (["--parquet", "rows.parquet", "--csv", "select 1"], "not both"),
    ],
)
def test_what_cannot_be_a_parquet_file(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        ask(lake, *arguments)
    assert not (tmp_path / "rows.parquet").exists()
