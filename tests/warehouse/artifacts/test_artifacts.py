"""The artifacts of builds, and what stands on them: state, result, retry."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import ROOT
from tests.warehouse.helpers import call
from warehouse.answers.budget import AnswerLimits, Cost
from warehouse.build import build as building
from warehouse.build.build_options import BuildOptions
from warehouse.build.node_selection import selected_nodes
from warehouse.graph.loaded_project import open_project
from warehouse.graph.selection import SelectionError
from warehouse.lake.lake import Lake
from warehouse.project.options import Selection


def results(shop: Path, folder: str = "target") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((shop / folder / "run_results.json").read_text())
    return content


def statuses(shop: Path, folder: str = "target") -> dict[str, str]:
    return {each["unique_id"].split(".")[2]: each["status"] for each in results(shop, folder)["results"]}


def broken(shop: Path) -> str:
    """A third order twice: its test fails, and what lies below is skipped. Returns what the seed was."""
    seed = shop / "seeds/raw_orders.csv"
    before = seed.read_text()
    seed.write_text(before + "3;1;5;2024-03-01\n")
    return before


def test_every_command_leaves_its_artifacts(lake: Lake, shop: Path, tmp_path: Path) -> None:
    for command in ("seed", "run", "test", "build"):
        assert call(lake, shop, command)[0] == 0
        assert results(shop)["args"]["which"] == command
        assert set(statuses(shop).values()) <= {"success", "pass", "warn"}
        manifest = json.loads((shop / "target/manifest.json").read_text())
        assert manifest["metadata"]["invocation_id"] == results(shop)["metadata"]["invocation_id"]
    assert statuses(shop)["not_null_stg_orders_cents"] == "warn"
    table = next(each for each in results(shop)["results"] if each["unique_id"] == "model.shop.customers")
    assert table["relation_name"] == '"lake"."main_marts"."customers"'

    elsewhere = tmp_path / "elsewhere"
    assert call(lake, shop, "compile", "customers", "--target-path", str(elsewhere))[0] == 0
    compiled = json.loads((elsewhere / "manifest.json").read_text())["nodes"]["model.shop.customers"]["compiled_code"]
    assert "{{" not in compiled and "md5(concat_ws('-'" in compiled


def test_a_build_counts_its_rows_and_its_time(lake: Lake, shop: Path) -> None:
    began = time.time()
    call(lake, shop, "build")
    built = {each["unique_id"]: each for each in results(shop)["results"]}
    assert built["seed.shop.raw_customers"]["adapter_response"]["rows_affected"] == 3
    assert built["model.shop.customers"]["compiled_code"].startswith("with orders as (")
    assert 0 < built["model.shop.customers"]["execution_time"] < time.time() - began
    timing = built["model.shop.customers"]["timing"][0]
    assert timing["started_at"] < timing["completed_at"] <= results(shop)["metadata"]["generated_at"]


def test_a_build_with_nothing_to_do_leaves_results_and_the_manifest_alone(lake: Lake, shop: Path) -> None:
    def build() -> None:  # each in a process of its own: the short way is for lakes that are not open yet
        code = "from warehouse.cli.main import main; main()"
        command = [sys.executable, "-c", code, "build", "--project-dir", shop, "--lake", lake.root]
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)

    build()
    manifest = (shop / "target/manifest.json").read_bytes()
    first = results(shop)
    build()
    second = results(shop)
    assert (shop / "target/manifest.json").read_bytes() == manifest
    assert second["metadata"]["invocation_id"] != first["metadata"]["invocation_id"]
    plain = [
        {key: each[key] for key in ("unique_id", "status", "failures", "relation_name")} for each in second["results"]
    ]
    before = [{key: each[key] for key in plain[0]} for each in first["results"]]
    assert [each["unique_id"] for each in plain] == [each["unique_id"] for each in before]
    assert plain == before


def test_a_folder_that_cannot_be_written_fails_no_build(lake: Lake, shop: Path) -> None:
    (shop / "target").write_text("a file in the way")
    code, said = call(lake, shop, "build")
    assert code == 0 and "cannot write" in said


def test_result_selects_by_how_the_last_command_ended(lake: Lake, shop: Path) -> None:
    broken(shop)
    building.build(lake, shop)
    opened = open_project(lake, shop, BuildOptions(state=shop / "target"))
    names = {opened.graph.steps[key].name for key in selected_nodes(opened, Selection(("result:fail",)))}
    assert names == {"unique_stg_orders_order_id"}
    names = {
        opened.graph.steps[key].name for key in selected_nodes(opened, Selection(("result:fail+", "result:skipped")))
    }
    assert {"customers", "order_log", "recent_orders"} <= names and "stg_orders" not in names
    with pytest.raises(SelectionError, match="older state"):
        selected_nodes(open_project(lake, shop), Selection(("result:fail",)))


def test_state_needs_a_manifest(lake: Lake, shop: Path, tmp_path: Path) -> None:
    code, said = call(lake, shop, "ls", "--select", "state:new", "--state", str(tmp_path / "nowhere"))
    assert code != 0 and "manifest.json" in said and "target/" in said
    (tmp_path / "manifest.json").write_text("[]")
    assert "is not a manifest.json" in call(lake, shop, "ls", "--select", "state:new", "--state", str(tmp_path))[1]


def test_an_older_state_is_looked_at_every_time(lake: Lake, shop: Path, tmp_path: Path) -> None:
    building.build(lake, shop, options=BuildOptions(target_path=tmp_path / "old"))
    arguments = ("build", "--select", "state:modified", "--state", str(tmp_path / "old"))
    assert "nothing selected" in call(lake, shop, *arguments)[1]
    manifest = json.loads((tmp_path / "old/manifest.json").read_text())
    del manifest["nodes"]["model.shop.order_log"]
    (tmp_path / "old/manifest.json").write_text(json.dumps(manifest))
    assert "1 unchanged" in call(lake, shop, *arguments)[1]


def test_retry_does_what_was_left_undone(lake: Lake, shop: Path) -> None:
    assert call(lake, shop, "build")[0] == 0
    assert "nothing to retry" in call(lake, shop, "retry")[1]
    text = broken(shop)
    assert call(lake, shop, "build", "--vars", "{cents: 10}")[0] == 1
    undone = {name for name, status in statuses(shop).items() if status in ("fail", "skipped")}
    assert {"unique_stg_orders_order_id", "customers", "recent_orders"} <= undone

    assert call(lake, shop, "retry")[0] == 1, "nothing was mended"
    assert statuses(shop).keys() == undone
    assert results(shop)["args"]["which"] == "build" and results(shop)["args"]["vars"] == {"cents": 10}

    (shop / "seeds/raw_orders.csv").write_text(text)
    assert call(lake, shop, "seed")[0] == 0
    call(lake, shop, "build", "--vars", "{cents: 10}", "--select", "stg_orders")
    assert "nothing to retry" in call(lake, shop, "retry")[1]


def test_retry_keeps_to_the_command_and_its_options(lake: Lake, shop: Path) -> None:
    building.build(lake, shop)
    model = shop / "models/staging/stg_orders.sql"
    right = model.read_text()
    model.write_text(right.replace("customer_id,", "customer_id, nothing_of_the_kind,"))
    assert call(lake, shop, "run", "--vars", "{cents: 10}", "--fail-fast", "--threads", "1")[0] == 1
    left = {name for name, status in statuses(shop).items() if status != "success"}
    assert left == {"stg_orders", "customers", "order_log", "recent_orders"}
    model.write_text(right)
    assert call(lake, shop, "retry")[0] == 0
    assert set(statuses(shop)) == left and set(statuses(shop).values()) == {"success"}
    assert results(shop)["args"]["threads"] == 1 and results(shop)["args"]["fail_fast"] is True
    cents = lake.cursor().execute("select cents from main_marts.customers where name = 'Ada'").fetchall()
    assert cents == [(195.0,)], "with the variable of the run"


def test_every_option_of_a_build_is_recorded(tmp_path: Path) -> None:
    given = BuildOptions(
        variables={"cents": 10},
        target="ci",
        full_refresh=True,
        fail_fast=True,
        threads=3,
        store_failures=True,
        selector="nightly",
        state=tmp_path,
        defer=True,
        favor_state=True,
        empty=True,
        sample="3 days",
        event_time_start="2026-01-01",
        event_time_end="2026-02-01",
        target_path=tmp_path / "elsewhere",
        strict=True,
        limits=AnswerLimits(retry=("error",), limit=9, max_cost=Cost(5.0, "USD"), commit_every=7, lease_seconds=5.0),
    )
    assert all(getattr(given, name) != getattr(BuildOptions(), name) for name in BuildOptions.__dataclass_fields__)
    assert BuildOptions.of_record(json.loads(json.dumps(given.recorded()))) == given
    assert BuildOptions.of_record({}) == BuildOptions()


def test_retry_without_a_last_time(lake: Lake, shop: Path) -> None:
    code, said = call(lake, shop, "retry")
    assert code != 0 and "run_results.json" in said
