"""Any name that dbt takes names a table of the lake, and its files stay in the lake."""

from __future__ import annotations

from pathlib import Path

from tests.warehouse.helpers import build, call
from warehouse.lake.lake import Lake
from warehouse.lake.maintenance import check

NAMES = ("sales.2024", "/elsewhere/x", "../../x", "a b=c", "straße", "it's")


def test_odd_names_are_tables_and_move_with_the_lake(lake: Lake, shop: Path, tmp_path: Path) -> None:
    for number, name in enumerate(NAMES):
        head = f"{{{{ config(materialized='table', alias={name!r}) }}}}"
        (shop / "models" / f"m{number}.sql").write_text(f"{head}\nselect {number} as n, 'x' as t")
    for _ in range(2):
        done = build(lake, shop, *[f"m{number}" for number in range(len(NAMES))], full_refresh=True)
        assert {each.status for each in done.values()} == {"built"}, done
    cursor = lake.cursor()
    for number, name in enumerate(NAMES):
        quoted = '"' + name + '"'
        assert cursor.sql(f"select n from main.{quoted}").fetchall() == [(number,)]
    assert check(lake).faults == ()
    rows = cursor.sql("select path from __ducklake_metadata_lake.ducklake_data_file where not path_is_relative")
    assert rows.fetchall() == []


def test_a_schema_with_a_dot_is_refused(lake: Lake, shop: Path) -> None:
    (shop / "models" / "dotted.sql").write_text("{{ config(schema='s.2024') }}\nselect 1 as n")
    code, said = call(lake, shop, "build", "--select", "dotted")
    assert code != 0
    assert "has a dot" in said
