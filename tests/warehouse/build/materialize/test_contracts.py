"""Contracts: what is said where a model breaks one. That they hold as dbt's do is tests/conformance's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import write
from tests.warehouse.expensive_functions import functions
from tests.warehouse.helpers import build, why
from warehouse.build import build as building
from warehouse.lake.lake import Lake
from warehouse.project.project import ProjectErrors

SCHEMA = """models:
  - name: orders
    config: {contract: {enforced: true}}
    columns:
      - name: id
        data_type: integer
        constraints: [{type: not_null}, {type: unique}]
      - name: cents
        data_type: bigint
        constraints:
          - {type: check, expression: cents >= 0}
"""


def project(root: Path, query: str, schema: str = SCHEMA, config: str = "materialized='table'") -> Path:
    return write(
        root,
        {
            "dbt_project.yml": "name: p",
            "models/orders.sql": f"{{{{ config({config}) }}}}\n{query}\n",
            "models/schema.yml": schema,
            "models/after.sql": "select * from {{ ref('orders') }}",
        },
    )


def test_other_columns_are_told_in_a_table_and_nothing_is_written(lake: Lake, tmp_path: Path) -> None:
    root = project(tmp_path / "p", "select 1 as id, sum(5) as cents")
    assert build(lake, root)["orders"].status == "built"
    project(root, "select 'one' as id, 2 as extra")
    results = build(lake, root)
    assert results["orders"].status == "error" and results["after"].status == "skipped"
    assert results["orders"].message.splitlines() == [
        "models/schema.yml:2: orders: the query's columns are not those of its contract",
        "  column  in the query  in the contract",
        "  id      VARCHAR       INTEGER",
        "  cents   –             BIGINT",
        "  extra   INTEGER       –",
    ]
    assert lake.cursor().execute("from main.orders").fetchall() == [(1, 5)]


def test_other_columns_are_found_before_an_answer_is_paid_for(lake: Lake, tmp_path: Path) -> None:
    called = tmp_path / "called"
    root = project(tmp_path / "p", "select 1 as id, length_class(t) as cents from (select unnest(['a', 'b']) as t)")
    known = functions(called)
    schema = SCHEMA.replace("data_type: integer", "data_type: varchar")
    (root / "models/schema.yml").write_text(schema)
    (result, *_) = building.build(lake, root, functions=known)
    assert "are not those of its contract" in result.message
    assert not called.exists(), "nothing is asked"
    (root / "models/schema.yml").write_text(schema.replace("varchar", "integer").replace(", {type: unique}", ""))
    assert [each.status for each in building.build(lake, root, functions=known)] == ["built", "built"]
    assert called.exists()


def test_rows_that_break_constraints_are_counted_and_not_written(lake: Lake, tmp_path: Path) -> None:
    root = project(tmp_path / "p", "select 1 as id, 5::bigint as cents")
    build(lake, root)
    project(root, "select * from (values (1, -1::bigint), (1, -2), (null, 3), (null, 4)) as t(id, cents)")
    before = lake.snapshot()
    message = build(lake, root)["orders"].message
    assert message.splitlines() == [
        "models/schema.yml:5: orders: rows break its contract; nothing is written",
        "  constraint          rows",
        "  not_null (id)       2",
        "  unique (id)         2",
        "  check (cents >= 0)  2",
    ]
    assert lake.snapshot() == before
    assert lake.cursor().execute("from main.orders").fetchall() == [(1, 5)]


def test_what_is_added_is_unique_beside_what_is_there(lake: Lake, tmp_path: Path) -> None:
    config = "materialized='incremental', on_schema_change='fail'"
    root = project(tmp_path / "p", "select 1 as id, 5::bigint as cents", config=config)
    build(lake, root)
    project(root, "select 1 as id, 6::bigint as cents", config=config)
    assert "unique (id)" in build(lake, root)["orders"].message
    project(root, "select 1 as id, 7::bigint as cents", config=f"{config}, unique_key='id'")
    assert build(lake, root)["orders"].status == "built", "the row that was there is replaced"
    assert lake.cursor().execute("from main.orders").fetchall() == [(1, 7)]


def test_another_contract_is_a_reason_to_build(lake: Lake, tmp_path: Path) -> None:
    root = project(tmp_path / "p", "select 1 as id, 5::bigint as cents")
    build(lake, root)
    assert why(lake, root) == {}
    write(root, {"models/schema.yml": SCHEMA.replace("cents >= 0", "cents > 5")})
    assert why(lake, root)["orders"] == "config changed"
    failed = build(lake, root)["orders"]
    assert failed.status == "error" and "models/schema.yml:8" in failed.message


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("        data_type: bigint\n", "", "models/schema.yml:2: orders: its contract has no data_type for cents"),
        ("type: unique", "type: uniqe", "models/schema.yml:5: orders: there is no constraint 'uniqe'"),
        (", expression: cents >= 0", "", "models/schema.yml:8: orders: its constraint check has no expression"),
        (
            "    columns:",
            "    constraints: [{type: primary_key, columns: [di]}]\n    columns:",
            "models/schema.yml:2: orders: its constraint primary_key names 'di', which is not one of its columns",
        ),
    ],
)
def test_a_contract_that_cannot_be_is_found_before_anything_is_built(
    lake: Lake, tmp_path: Path, before: str, after: str, said: str
) -> None:
    changed = SCHEMA.replace(before, after)
    assert changed != SCHEMA
    with pytest.raises(ProjectErrors) as caught:
        build(lake, project(tmp_path / "p", "select 1 as id", changed))
    assert said in str(caught.value)


def test_an_incremental_model_with_a_contract_says_what_becomes_of_other_columns(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(ProjectErrors, match="needs on_schema_change"):
        build(lake, project(tmp_path / "p", "select 1 as id", config="materialized='incremental'"))
