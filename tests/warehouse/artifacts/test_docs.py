"""The page and the catalog of cuvee docs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.warehouse.helpers import call
from warehouse.lake.lake import Lake


def generate(lake: Lake, shop: Path) -> tuple[str, dict[str, Any]]:
    code, said = call(lake, shop, "docs", "generate")
    assert code == 0, said
    page = (shop / "target/index.html").read_text()
    data = re.search(r"^const project = (.*);$", page, re.MULTILINE)
    assert data
    return page, json.loads(data[1])


def test_the_catalog_has_columns_types_and_rows(lake: Lake, shop: Path) -> None:
    call(lake, shop, "build", "--exclude", "recent_orders")
    generate(lake, shop)
    nodes = json.loads((shop / "target/catalog.json").read_text())["nodes"]
    assert "model.shop.recent_orders" not in nodes and "model.shop.recent" not in nodes
    customers = nodes["model.shop.customers"]
    types = {name: column["type"] for name, column in customers["columns"].items()}
    assert types == {
        "customer_id": "INTEGER", "name": "VARCHAR", "code": "VARCHAR", "orders": "BIGINT", "cents": "DOUBLE",
        "key": "VARCHAR",
    }  # fmt: skip
    assert customers["stats"]["num_rows"]["value"] == 3
    assert nodes["model.shop.stg_orders"]["metadata"]["type"] == "VIEW"
    assert "num_rows" not in nodes["model.shop.stg_orders"]["stats"]


def test_the_page_knows_the_project_and_needs_nothing_else(lake: Lake, shop: Path) -> None:
    (shop / "models/odd.sql").write_text("select '</script><b>' as x -- <!--")
    call(lake, shop, "build")
    page, content = generate(lake, shop)
    assert not re.search(r"https?://|src=|@import|url\(", page.replace(json.dumps(content), ""))
    assert page.count("</script>") == 1, "SQL cannot end the script"
    nodes = {node["name"]: node for node in content["nodes"]}
    assert nodes["odd"]["sql"].startswith("select '</script><b>'")
    orders = nodes["stg_orders"]
    assert orders["description"] == "One row per order." and orders["rows"] is None
    assert orders["up"] == ["seed.shop.raw_orders"]
    assert {"model.shop.customers", "model.shop.order_log"} <= set(orders["down"]), "edges without ref too"
    columns = {column["name"]: column for column in orders["columns"]}
    assert set(columns["order_id"]["tests"]) == {"unique", "not_null"} and columns["order_id"]["type"] == "INTEGER"
    assert "{{ in_cents('amount') }}" in orders["template"] and "* 100" in orders["sql"]
    assert nodes["customers"]["rows"] == 3 and nodes["customers"]["tags"] == ["nightly"]


def test_the_page_is_served(lake: Lake, shop: Path) -> None:
    assert call(lake, shop, "docs", "generate")[0] == 0
    arguments = ["docs", "serve", "--port", "0", "--project-dir", str(shop)]
    script = "from warehouse.cli.main import main; main()"
    with subprocess.Popen([sys.executable, "-uc", script, *arguments], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            address = server.stdout.readline().strip()
            with urllib.request.urlopen(f"{address}/index.html", timeout=20) as answer:
                assert b"stg_orders" in answer.read()
        finally:
            server.terminate()


def test_nothing_to_serve(shop: Path) -> None:
    from click.testing import CliRunner

    from warehouse.cli.main import cli

    done = CliRunner().invoke(cli, ["docs", "serve", "--project-dir", str(shop)])
    assert done.exception and "cuvee docs generate" in str(done.exception)
