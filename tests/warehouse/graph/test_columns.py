"""Lineage by column, from the cases in tests/fixtures/lineage/columns.sql."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.helpers import CUVEE, FIXTURES
from udfs.errors import UsageError
from warehouse.build import build as building
from warehouse.graph.columns import Column, Lineage, lake_columns
from warehouse.graph.loaded_project import open_project
from warehouse.lake.lake import Lake
from warehouse.project.options import Selection

FIXTURE = FIXTURES / "lineage" / "columns.sql"
CASES = [block.strip() for block in FIXTURE.read_text().split("\n\n")[1:]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    for folder in ("models", "seeds"):
        (root / folder).mkdir()
    (root / "dbt_project.yml").write_text("name: shop\nprofile: shop\nmodels:\n  shop:\n    +materialized: table\n")
    (root / "seeds/orders.csv").write_text("id,customer,amount\n1,1,2.5\n")
    (root / "seeds/customers.csv").write_text("id,name\n1,Ada L\n")
    (root / "models/sources.yml").write_text(
        "sources:\n  - name: raw\n    schema: raw\n    tables: [{name: documents}]\n"
    )
    taxonomy = FIXTURE.parents[3] / "sql" / "seeds"
    for name in ("taxonomy.csv", "fdc.csv"):
        (root / "seeds" / name).write_text((taxonomy / name).read_text())
    for number, case in enumerate(CASES):
        (root / f"models/case_{number}.sql").write_text(case.split(";\n")[0])
    return root


@pytest.fixture(scope="module")
def lineage(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Lineage:
    lake = Lake.create(tmp_path_factory.mktemp("lake"))
    failed = [result for result in building.build(lake, project) if result.failed]
    assert not failed
    opened = open_project(lake, project)
    return Lineage(opened.graph, lake_columns(opened.database.cursor))


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.split("\n")[0][3:] for case in CASES])
def test_cases(lineage: Lineage, number: int) -> None:
    for line in CASES[number].split(";\n")[1].splitlines():
        name, _, sources = line.removeprefix("-- ").partition(":")
        found = {str(each).removeprefix("main.") for each in lineage.sources(Column(f"main.case_{number}", name))}
        assert found == set(re.split(r",\s*", sources.strip())) - {""}, name


def test_down_is_the_reverse_of_up(lineage: Lineage) -> None:
    below = lineage.downstream(lineage.find("customers.name"))
    for branch in below.next:
        assert lineage.find("main.customers.name") in lineage.sources(branch.column)
    assert len(below.next) == sum(
        Column("main.customers", "name") in lineage.sources(Column(relation, column))
        for relation, columns in lineage._relations.items()
        for column in columns
    )


def test_names_that_are_not_there_have_near_ones(lineage: Lineage) -> None:
    for text, said in (("orders", "names no column"), ("ordrs.id", "no model"), ("orders.amuont", "no column")):
        with pytest.raises(UsageError, match=said):
            lineage.find(text)


def test_the_command(project: Path, tmp_path: Path) -> None:
    lake = Lake.create(tmp_path / "lake")
    building.build(lake, project, Selection(("+case_0",)))
    command = [*CUVEE, "lineage", "case_0.price"]
    given = ["--lake", str(lake.root), "--project-dir", str(project)]
    done = subprocess.run([*command, *given, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    upstream = json.loads(done.stdout)["upstream"]
    assert upstream == [{"relation": "main.orders", "column": "amount", "next": []}]
    shown = subprocess.run([*command, *given], capture_output=True, text=True, check=True).stdout
    assert "main.orders.amount" in shown and "goes into no other column" in shown
