"""Models of several versions: which file and which columns each has, what a ref means, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import write
from warehouse.build import build as building
from warehouse.build.node_selection import selected_nodes
from warehouse.graph.loaded_project import open_project
from warehouse.lake.lake import Lake
from warehouse.project.options import Selection
from warehouse.project.project import ProjectErrors
from warehouse.project.project_files import load

SCHEMA = """models:
  - name: prices
    columns: [{name: id, data_tests: [unique]}, {name: cents}]
    versions:
      - {v: 2}
      - {v: 10, columns: [{include: [id]}, {name: euros}]}
      - {v: 1, defined_in: prices_of_old, columns: [{include: all, exclude: [cents]}]}
"""


def project(root: Path, schema: str = SCHEMA, **files: str) -> Path:
    return write(
        root,
        {
            "dbt_project.yml": "name: p",
            "models/schema.yml": schema,
            "models/prices_of_old.sql": "select 1 as id",
            "models/prices_v2.sql": "select 1 as id, 500 as cents",
            "models/prices.sql": "select 1 as id, 5.0 as euros",
            "models/reader.sql": "select v2.cents, latest.euros"
            " from {{ ref('prices', v=2) }} as v2 join {{ ref('prices') }} as latest using (id)",
            **files,
        },
    )


def test_each_version_has_its_file_and_its_columns(tmp_path: Path) -> None:
    nodes = load(project(tmp_path / "p")).nodes
    columns = {node.version: [each.name for each in node.columns] for node in nodes.values() if node.version}
    assert columns == {2: ["id", "cents"], 10: ["id", "euros"], 1: ["id"]}
    assert nodes["model.p.prices.v10"].path == "models/prices.sql", "the latest may have the model's own name"
    assert nodes["model.p.prices.v1"].path == "models/prices_of_old.sql"
    assert len([key for key in nodes if key.startswith("test.p.unique_prices_v")]) == 3


def test_a_ref_means_the_latest_unless_it_says_which(lake: Lake, tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    assert not [result.message for result in building.build(lake, root) if result.failed]
    assert lake.cursor().execute("from main.reader").fetchall() == [(500, 5)]
    assert lake.cursor().execute("from main.prices_v1").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        ("version:latest", {"prices.v10"}),
        ("version:old", {"prices.v1", "prices.v2"}),
        ("version:none", {"reader"}),
        ("prices", {"prices.v1", "prices.v2", "prices.v10"}),
        ("prices.v2", {"prices.v2"}),
        ("prices_v2", {"prices.v2"}),
        ("prices.v2+", {"prices.v2", "reader"}),
    ],
)
def test_versions_are_selected(lake: Lake, tmp_path: Path, selection: str, found: set[str]) -> None:
    opened = open_project(lake, project(tmp_path / "p"))
    assert {key[8:] for key in selected_nodes(opened, Selection((selection,))) if key.startswith("model.")} == found


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("{v: 2}", "{v: 10}", "two versions of one name"),
        ("versions:", "latest_version: 3\n    versions:", "has no version 3, its latest_version"),
        ("{v: 2}", "{w: 2}", "the versions of prices are a list"),
        ("{v: 2}", "{v: 3}", "describes model 'prices_v3', which does not exist"),
    ],
)
def test_versions_that_cannot_be(tmp_path: Path, before: str, after: str, message: str) -> None:
    with pytest.raises(ProjectErrors, match=message):
        load(project(tmp_path / "p", SCHEMA.replace(before, after)))


def test_a_model_in_python_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ProjectErrors, match=r"models/other.py: models in Python are not built"):
        load(project(tmp_path / "p", **{"models/other.py": "def model(dbt, session): ..."}))


def test_a_version_that_there_is_not(lake: Lake, tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    (root / "models/reader.sql").write_text("select * from {{ ref('prices', v=3) }}")
    with pytest.raises(ProjectErrors, match="no model or seed is named 'prices', version 3"):
        open_project(lake, root)


def test_a_unit_test_is_of_every_version(lake: Lake, tmp_path: Path) -> None:
    unit = (
        "unit_tests: [{name: one_row, model: prices, given: [], expect: {rows: [{id: 1}]}},"
        " {name: none, model: price, given: [], expect: {rows: []}}]"
    )
    with pytest.raises(ProjectErrors, match="tests model 'price', which does not exist"):
        load(project(tmp_path / "p", **{"models/unit.yml": unit}))
    root = project(tmp_path / "p", **{"models/unit.yml": unit.split(", {name: none")[0] + "]"})
    results = {result.name: result.status for result in building.build(lake, root) if result.kind == "unit_test"}
    assert results == {"one_row_v1": "pass", "one_row_v2": "pass", "one_row_v10": "pass"}
