"""The tests of labels, run by dbt with dbt-duckdb and by Cuvée over the same answers."""

from __future__ import annotations

from pathlib import Path

import duckdb
import yaml

from tests.conformance.peer import judged_by_both, run_dbt, write
from tests.helpers import install_package, macros_only
from tests.warehouse.build.tests.label_project import give, project
from warehouse.lake.lake import Lake

LABELS = """
a: 1,x,y,1,513
a: 2,y,,2,510
a: 3,x,,3,641
a: 4,nonsense,,,
gold: 1,y,x,1,513
gold: 2,x,,2,641
gold: 3,x,,1,
gold: 4,y,-1,-1,
"""

TESTS = [
    {"parse_rate": {"labeler": "a", "at_least": 0.75}},
    {"parse_rate": {"name": "too_few", "labeler": "a", "at_least": 0.8}},
    {"abstention_rate": {"labeler": "gold", "at_most": 0.25}},
    {"abstention_rate": {"name": "too_many", "labeler": "gold", "at_most": {"desk": 0.1, "kind": 0.1}}},
    {"label_agreement": {"labeler": "a", "gold": "gold", "at_least": {"kind": -1, "fdc_level_1": -1}}},
    {"label_agreement": {"name": "too_little", "labeler": "a", "gold": "gold", "at_least": 0.99}},
]


def test_tests_of_labels_pass_and_fail_alike(dbt: Path, lake: Lake, tmp_path: Path) -> None:
    root = project(tmp_path, yaml.safe_dump(TESTS[0]))
    tests = [
        {f"cuvee.{kind}": {key: options[key] for key in options if key == "name"}
         | {"arguments": {"taxonomy": "press"} | {key: options[key] for key in options if key != "name"}}}
        for test in TESTS
        for kind, options in test.items()
    ]  # fmt: skip
    schema = {"models": [{"name": "m", "data_tests": tests}]}
    write(root, {"models/schema.yml": yaml.safe_dump(schema), "dbt_project.yml": macros_only("p")})
    install_package(root)
    give(lake, root, LABELS.strip())
    with duckdb.connect(str(root / "dbt.duckdb")) as database:
        database.execute("create schema labels")
        for table in ("press", "press_long"):
            database.register("answers", lake.cursor().execute(f"from labels.{table}").to_arrow_table())
            database.execute(f"create table labels.{table} as from answers")
    run_dbt(dbt, root, "--warn-error", "parse")
    found = judged_by_both(dbt, root, lake)
    assert sorted(status for status, _ in found.values()) == ["fail"] * 3 + ["pass"] * 3 + ["success"]
    counts = {key.split(".")[2]: failures for key, (status, failures) in found.items() if status == "fail"}
    assert counts == {"too_few": 1, "too_many": 1, "too_little": 5}
