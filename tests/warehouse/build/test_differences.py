"""What cuvee diff and cuvee plan say of a change before it is built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import write
from tests.warehouse.helpers import build, call
from udfs.errors import CuveeError, UsageError
from warehouse.build.differences import Difference, difference
from warehouse.graph.loaded_project import open_project
from warehouse.lake.lake import Lake


def compared(lake: Lake, root: Path, model: str, *key: str) -> Difference:
    opened = open_project(lake, root)
    step = next(step for step in opened.graph.steps.values() if step.name == model)
    return difference(opened, opened.in_full(step), key)


@pytest.fixture
def numbers(lake: Lake, tmp_path: Path) -> Path:
    root = write(
        tmp_path / "p",
        {
            "dbt_project.yml": "name: p\nmodels: {p: {+materialized: table}}",
            "models/m.sql": "select i as id, i * 2 as a, 'x' as b, 1 as gone from range(5) as t(i)",
            "models/s.yml": "models: [{name: m, columns: [{name: id, data_tests: [unique]}]}]",
        },
    )
    build(lake, root)
    return root


def test_rows_are_told_apart_by_the_column_of_a_unique_test(lake: Lake, numbers: Path) -> None:
    assert compared(lake, numbers, "m").same
    write(
        numbers,
        {
            "models/m.sql": "select i as id, case when i = 3 then null else i * 2 end as a,"
            " case when i < 3 then 'y' else 'x' end as b, 1.5 as new from range(1, 7) as t(i)"
        },
    )
    found = compared(lake, numbers, "m")
    assert not found.same and found.key == ("id",)
    assert (found.before, found.now, found.added, found.removed, found.changed) == (5, 6, 2, 1, 3)
    assert found.columns == {"a": 1, "b": 2}
    assert found.columns_added == ("new",) and found.columns_removed == ("gone",)
    assert [row["id"] for row in found.examples["added"]] == [5, 6]
    assert found.examples["changed"][0] == {"id": 1, "b": {"before": "x", "now": "y"}}
    assert found.examples["changed"][2] == {"id": 3, "a": {"before": 6, "now": None}}
    assert build(lake, numbers)["m"].status == "built"
    assert compared(lake, numbers, "m").same


def test_without_a_key_rows_are_whole(lake: Lake, numbers: Path) -> None:
    write(
        numbers,
        {
            "models/s.yml": "models: [{name: m}]",
            "models/m.sql": "select i as id, 0 as a, 'x' as b, 1 as gone from range(4) as t(i)",
        },
    )
    found = compared(lake, numbers, "m")
    assert (found.key, found.added, found.removed, found.changed) == ((), 3, 4, None)


def test_a_type_that_changed_is_said_and_compared_as_text(lake: Lake, numbers: Path) -> None:
    text = (numbers / "models/m.sql").read_text()
    write(
        numbers, {"models/m.sql": text.replace("i * 2 as a", "case when i = 4 then 'z' else (i * 2)::varchar end as a")}
    )
    found = compared(lake, numbers, "m")
    assert found.types == {"a": ("BIGINT", "VARCHAR")} and found.columns == {"a": 1} and not found.same


def test_a_key_must_be_one(lake: Lake, numbers: Path) -> None:
    with pytest.raises(CuveeError, match=r"more than one row with b = 'x'"):
        compared(lake, numbers, "m", "b")
    with pytest.raises(UsageError, match="not a column"):
        compared(lake, numbers, "m", "ib")


def test_an_incremental_model_is_compared_in_full(lake: Lake, shop: Path) -> None:
    build(lake, shop)
    assert compared(lake, shop, "order_log").same
    with lake.commit("lost") as commit:
        commit.sql("delete from lake.main_marts.order_log where order_id = 1")
    found = compared(lake, shop, "order_log")
    assert (found.added, found.removed, found.key) == (1, 0, ("order_id",))


def test_a_model_that_is_not_built_cannot_be_compared(lake: Lake, shop: Path) -> None:
    code, said = call(lake, shop, "diff", "customers")
    assert code != 0 and "cuvee build --select customers" in said


def test_the_command_says_it_in_words_and_as_json(lake: Lake, shop: Path) -> None:
    build(lake, shop)
    model = shop / "models/marts/customers.sql"
    model.write_text(model.read_text().replace("coalesce(o.orders, 0)", "coalesce(o.orders, -1)"))
    said = call(lake, shop, "diff", "customers", "--key", "customer_id,name")[1]
    assert "3 rows in the lake, 3 now: 0 added, 0 removed, 1 changed by customer_id, name" in said
    assert "orders: 0 → -1" in said
    found: dict[str, Any] = json.loads(call(lake, shop, "diff", "customers", "--json")[1])
    assert (found["added"], found["removed"], found["changed"], found["same"]) == (1, 1, None, False)


def test_the_plan_shows_how_the_sql_changed(lake: Lake, shop: Path) -> None:
    build(lake, shop)
    assert "@@" not in call(lake, shop, "plan")[1]
    model = shop / "models/marts/customers.sql"
    model.write_text(model.read_text().replace("coalesce(o.orders, 0)", "coalesce(o.orders, -1)"))
    said = call(lake, shop, "plan")[1]
    assert "-    coalesce(o.orders, 0) as orders,\n+    coalesce(o.orders, -1) as orders," in said
    assert "customers, read by recent_orders:" in said and said.count("@@") == 2
    rows = {row["name"]: row for row in json.loads(call(lake, shop, "plan", "--json", "--quiet")[1])}
    assert rows["customers"]["diff"].startswith("--- built\n+++ now\n@@")
    assert rows["customers"]["downstream"] == ["model.shop.recent_orders"]
    assert rows["recent_orders"]["diff"] is None
