"""Building a project: what is built, what is not, and why."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import CUVEE, PROJECTS, write
from tests.warehouse.helpers import build, why
from udfs.errors import CuveeError
from warehouse.lake.lake import Lake


def test_a_project_lands_in_the_lake(lake: Lake, shop: Path) -> None:
    results = build(lake, shop)
    assert {each.status for each in results.values()} == {"built", "pass", "warn"}
    cursor = lake.cursor()
    assert cursor.execute("select name, code, orders, cents from main_marts.customers order by 1").fetchall() == [
        ("Ada", "007", 2, 1950.0),
        ("Bo", "010", 1, None),
        ("Cy, Jr.", None, 0, None),
    ]
    assert cursor.execute("select order_id, name from main_marts.recent_orders order by 1").fetchall() == [
        (2, "Ada"),
        (3, "Bo"),
    ]
    assert results["not_null_stg_orders_cents"].status == "warn"
    assert "1 row break it" in results["not_null_stg_orders_cents"].message
    kinds = dict(cursor.execute("select table_name, table_type from information_schema.tables").fetchall())
    assert kinds["stg_orders"] == "VIEW" and kinds["customers"] == "BASE TABLE"
    assert "recent" not in kinds


def test_nothing_changed_nothing_built(lake: Lake, shop: Path) -> None:
    build(lake, shop)
    before = lake.snapshot()
    assert why(lake, shop) == {}
    assert {each.status for each in build(lake, shop).values()} == {"unchanged"}
    assert lake.snapshot() == before


def test_the_plan_says_why(lake: Lake, shop: Path) -> None:
    assert why(lake, shop)["customers"] == "never built"
    build(lake, shop)

    model = shop / "models/marts/customers.sql"
    model.write_text(model.read_text().replace("with orders", "-- a comment\nWITH   orders"))
    assert why(lake, shop) == {}, "comments and layout are no change"

    model.write_text(model.read_text().replace("coalesce(o.orders, 0)", "coalesce(o.orders, -1)"))
    said = why(lake, shop)
    assert said["customers"] == "SQL changed"
    assert said["recent_orders"] == "upstream data changed: customers"
    assert "stg_customers" not in said and "order_log" not in said

    shutil.copy(PROJECTS / "shop/models/marts/customers.sql", model)
    macro = shop / "macros/money.sql"
    macro.write_text(macro.read_text().replace("* {{ by }}", "* {{ by }} + 0"))
    said = why(lake, shop)
    assert said["stg_orders"] == "macro changed: shop.scaled"
    assert said["order_log"] == "upstream data changed: stg_orders"
    shutil.copy(PROJECTS / "shop/macros/money.sql", macro)

    seed = shop / "seeds/raw_customers.csv"
    seed.write_text(seed.read_text() + "4,Di,011\n")
    said = why(lake, shop)
    assert said["raw_customers"] == "seed rows changed"
    assert said["customers"] == "upstream data changed: stg_customers"
    assert "stg_customers" not in said, "a view shows new rows by itself"
    shutil.copy(PROJECTS / "shop/seeds/raw_customers.csv", seed)

    config = shop / "dbt_project.yml"
    config.write_text(config.read_text().replace("+materialized: table", "+materialized: view"))
    assert why(lake, shop)["customers"] == "main_marts.customers is a table, not a view"
    shutil.copy(PROJECTS / "shop/dbt_project.yml", config)
    assert why(lake, shop, variables={"cents": 1000})["stg_orders"].startswith("SQL changed by a variable")
    assert why(lake, shop, target="ci")["customers"] == "never built"

    with lake.commit("someone else") as commit:
        commit.sql("drop table lake.main_marts.customers")
    assert why(lake, shop)["customers"] == "main_marts.customers is not in the lake any more"


def test_new_rows_in_a_source_are_seen(lake: Lake, tmp_path: Path) -> None:
    root = write(
        tmp_path / "p",
        {
            "dbt_project.yml": "name: p\nmodels: {p: {+materialized: table}}",
            "models/a.sql": "select count(*) as n from {{ source('raw', 'documents') }}",
            "models/b.sql": "select count(*) as n from raw.files",
            "models/c.sql": "select count(*) as n from raw.documents_and_more",
            "models/sources.yml": "sources: [{name: raw, tables: [{name: documents}]}]",
        },
    )
    with lake.commit("view") as commit:
        commit.sql("create view lake.raw.documents_and_more as select * from raw.documents")
    build(lake, root)
    assert why(lake, root) == {}
    with lake.commit("rows") as commit:
        commit.sql("insert into lake.raw.documents values ('d', 'text', 4, 'f')")
    assert why(lake, root) == {
        "a": "upstream data changed: raw.documents",
        "c": "upstream data changed: raw.documents_and_more",
    }
    assert {name for name, each in build(lake, root).items() if each.status == "built"} == {"a", "c"}
    with lake.commit("rows") as commit:
        commit.sql("delete from lake.raw.documents")
    assert set(why(lake, root)) == {"a", "c"}


def test_a_failed_test_stops_what_lies_downstream(lake: Lake, shop: Path) -> None:
    build(lake, shop)
    seed = shop / "seeds/raw_orders.csv"
    seed.write_text(seed.read_text() + "3;1;5;2024-03-01\n")
    results = build(lake, shop)
    assert results["unique_stg_orders_order_id"].status == "fail"
    assert "group by order_id" in results["unique_stg_orders_order_id"].message
    assert results["customers"].status == "skipped"
    assert results["customers"].message == "test unique_stg_orders_order_id failed"
    assert results["recent_orders"].status == results["order_log"].status == "skipped"
    orders = lake.cursor().execute("select sum(orders)::int from main_marts.customers").fetchall()
    assert orders == [(3,)], "the last good version stays"
    again = build(lake, shop)
    assert again["unique_stg_orders_order_id"].status == "fail", "a failed test is run again, and still stops"
    assert again["customers"].status == "skipped"
    shutil.copy(PROJECTS / "shop/seeds/raw_orders.csv", seed)
    assert {each.status for each in build(lake, shop).values()} <= {"built", "pass", "warn", "unchanged"}


def test_an_incremental_model_adds_and_replaces(lake: Lake, shop: Path) -> None:
    build(lake, shop)
    seed = shop / "seeds/raw_orders.csv"
    seed.write_text(seed.read_text().replace("3;2;;", "3;2;9;") + "4;1;5;2024-03-01\n")
    result = build(lake, shop)["order_log"]
    assert (result.status, result.rows) == ("built", 2)
    rows = lake.cursor().execute("select * from main_marts.order_log order by 1").fetchall()
    assert rows == [(1, 1250.0), (2, 700.0), (3, 900.0), (4, 500.0)]
    assert build(lake, shop, full_refresh=True)["order_log"].rows == 4


def test_a_table_becomes_a_view_and_back(lake: Lake, tmp_path: Path) -> None:
    root = write(tmp_path / "p", {"dbt_project.yml": "name: p", "models/m.sql": "select 1 as a"})
    for kind, found in (("table", "BASE TABLE"), ("view", "VIEW"), ("table", "BASE TABLE")):
        write(root, {"models/m.sql": f"{{{{ config(materialized='{kind}') }}}} select 1 as a"})
        build(lake, root)
        row = (
            lake.cursor().execute("select table_type from information_schema.tables where table_name = 'm'").fetchone()
        )
        assert row == (found,)


def test_views_hold_for_a_client_that_calls_the_lake_otherwise(lake: Lake, shop: Path) -> None:
    build(lake, shop)
    reader = lake.reader()
    reader.execute("use memory")
    reader.execute("detach lake")
    reader.execute(lake.attach_statement.replace("AS lake", "AS other"))
    assert reader.execute("select count(*) from other.main.stg_orders").fetchone() == (3,)


def test_types_that_parquet_cannot_hold(lake: Lake, tmp_path: Path) -> None:
    sql = (
        "select sum(1) as h, {'x': sum(2), 'y': [sum(3)]} as s, 'a'::enum('a', 'b') as e, [1, 2]::int[2] as l,"
        " '101'::bit as b, '{\"a\": 1}'::json as j, null as n, uuid() as u, interval 1 day as i"
    )
    root = write(
        tmp_path / "p",
        {"dbt_project.yml": "name: p", "models/m.sql": "{{ config(materialized='table') }}" + sql},
    )
    assert build(lake, root)["m"].status == "built"
    types = {row[0]: row[1] for row in lake.cursor().execute("describe main.m").fetchall()}
    assert types["h"] == "BIGINT" and types["s"] == "STRUCT(x BIGINT, y BIGINT[])" and types["e"] == "VARCHAR"
    assert types["l"] == "INTEGER[]" and types["j"] == "JSON"


def test_a_build_with_nothing_to_do_parses_nothing(lake: Lake, shop: Path) -> None:
    (shop / "models/staging/env.sql").write_text("select '{{ env_var('SHOP', 'none') }}' as shop from raw.documents")

    def loaded(env: dict[str, str] | None = None) -> set[str]:
        script = (
            "import sys; from warehouse.cli.main import cli\n"
            f"cli(['build', '-q', '--lake', '{lake.root}', '--project-dir', '{shop}'], standalone_mode=False)\n"
            "print(' '.join({'jinja2', 'sqlglot', 'duckdb'} & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, **(env or {})},
        )
        return set(done.stdout.splitlines()[-1].split())

    everything = {"jinja2", "sqlglot", "duckdb"}
    assert loaded() == everything
    assert loaded() == set()
    assert loaded({"SHOP": "corner"}) == everything, "another environment"
    assert loaded({"SHOP": "corner"}) == set()
    with lake.commit("rows") as commit:
        commit.sql("insert into lake.raw.documents values ('d', 'text', 4, 'f')")
    assert loaded({"SHOP": "corner"}) == everything, "new rows"
    assert loaded({"SHOP": "corner"}) == set()
    (shop / "models/marts/customers.sql").write_text((shop / "models/marts/customers.sql").read_text() + "-- x")
    assert loaded({"SHOP": "corner"}) == everything, "another file"
    with lake.commit("drop") as commit:
        commit.sql("drop table lake.main_marts.customers")
    assert loaded({"SHOP": "corner"}) == everything, "a table is gone"


def test_the_commands(lake: Lake, shop: Path) -> None:
    def cuvee(*args: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "warehouse.cli.main",
            *args,
            "--lake",
            str(lake.root),
            "--project-dir",
            str(shop),
        ]
        script = [*CUVEE, *command[3:]]
        return subprocess.run(script, capture_output=True, text=True, timeout=120)

    assert {row["name"] for row in json.loads(cuvee("ls", "--select", "tag:nightly", "--json").stdout)} >= {"customers"}
    plan = json.loads(cuvee("plan", "--json").stdout)
    assert {row["name"]: row["why"] for row in plan}["customers"] == ["never built"]
    done = cuvee("build", "--select", "+customers", "raw_orders", "--json")
    assert done.returncode == 0, done.stderr
    statuses = {row["name"]: row["status"] for row in json.loads(done.stdout)}
    assert statuses["customers"] == "built" and "order_log" not in statuses
    assert "main_marts.customers" in done.stderr
    assert "1,950" not in done.stdout
    assert cuvee("compile", "recent_orders").stdout.startswith("with __dbt__cte__recent as (")
    (shop / "tests/wrong.sql").write_text("select 1 as a from {{ ref('customers') }}")
    failed = cuvee("test", "--select", "customers")
    assert failed.returncode == 1
    assert "3 rows break it" in failed.stderr and "select 1 as a from" in failed.stderr
    unknown = cuvee("build", "--select", "custmers")
    assert unknown.returncode == 2 and "did you mean customers" in unknown.stderr


def test_run_seed_and_show(lake: Lake, shop: Path) -> None:
    def cuvee(*args: str) -> subprocess.CompletedProcess[str]:
        script = [*CUVEE, *args]
        given = ["--lake", str(lake.root), "--project-dir", str(shop)]
        return subprocess.run([*script, *given], capture_output=True, text=True, timeout=120)

    seeds = json.loads(cuvee("seed", "--json").stdout)
    assert {row["kind"] for row in seeds} == {"seed"} and {row["status"] for row in seeds} == {"built"}
    models = json.loads(cuvee("run", "--json").stdout)
    assert "seed" not in {row["kind"] for row in models} and "test" not in {row["kind"] for row in models}
    assert {row["status"] for row in models} == {"built"}
    shown = json.loads(cuvee("show", "customers", "--limit", "2", "--json").stdout)
    assert len(shown) == 2
    inline = cuvee("show", "--inline", "select count(*) as n from {{ ref('customers') }}", "--limit", "-1", "--json")
    (counted,) = json.loads(inline.stdout)
    assert counted["n"] == len(json.loads(cuvee("show", "customers", "--limit", "-1", "--json").stdout))
    assert cuvee("show").returncode == 2
    assert cuvee("show", "--inline", "select nothing").returncode == 2


@pytest.mark.parametrize(
    ("config", "columns", "expected"),
    [
        ("incremental_strategy='append'", "id, a, b", [(1, "x", 1), (2, "x", 1), (2, "y", 2), (3, "y", 2)]),
        ("unique_key='id'", "id, a, b", [(1, "x", 1), (2, "y", 2), (3, "y", 2)]),
        ("unique_key='id', incremental_strategy='merge'", "id, a, b", [(1, "x", 1), (2, "y", 2), (3, "y", 2)]),
        (
            "unique_key=['id'], incremental_strategy='merge', merge_update_columns=['a']",
            "id, a, b",
            [(1, "x", 1), (2, "y", 1), (3, "y", 2)],
        ),
        (
            "unique_key='id', incremental_strategy='merge', merge_exclude_columns=['A']",
            "id, a, b",
            [(1, "x", 1), (2, "x", 2), (3, "y", 2)],
        ),
        (
            "unique_key='id', on_schema_change='append_new_columns'",
            "id, a, 'c' as c",
            [(1, "x", 1, None), (2, "y", None, "c"), (3, "y", None, "c")],
        ),
        (
            "unique_key='id', incremental_strategy='merge', on_schema_change='append_new_columns'",
            "id, a, 'c' as c",
            [(1, "x", 1, None), (2, "y", 1, "c"), (3, "y", None, "c")],
        ),
        (
            "unique_key='id', on_schema_change='sync_all_columns'",
            "id, a, sum(b) over () as c",
            [(1, "x", None), (2, "y", 4), (3, "y", 4)],
        ),
    ],
)
def test_ways_of_adding_to_a_table(
    lake: Lake, tmp_path: Path, config: str, columns: str, expected: list[tuple]
) -> None:
    def model(columns: str, rows: str) -> dict[str, str]:
        head = "{{ config(materialized='incremental', " + config + ") }}"
        return {"models/m.sql": f"{head} select {columns} from (values {rows}) t(id, a, b)"}

    root = write(tmp_path / "p", {"dbt_project.yml": "name: p", **model("id, a, b", "(1, 'x', 1), (2, 'x', 1)")})
    assert build(lake, root)["m"].status == "built"
    write(root, model("/* again */ " + columns, "(2, 'y', 2), (3, 'y', 2)"))
    (root / "models/m.sql").write_text((root / "models/m.sql").read_text() + " where id > 0")
    result = build(lake, root)["m"]
    assert result.status == "built", result.message
    assert lake.cursor().execute("select * from m order by all").fetchall() == expected


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("unique_key='id', incremental_strategy='merge'", "several new rows have the unique_key 2"),
        ("incremental_strategy='merge'", "merge needs a unique_key"),
        ("unique_key='id', incremental_strategy='murge'", "did you mean merge?"),
        ("unique_key='od', incremental_strategy='merge'", "no column od for unique_key"),
        ("on_schema_change='fail'", "gone: b"),
    ],
)
def test_what_cannot_be_added_is_told(lake: Lake, tmp_path: Path, config: str, said: str) -> None:
    head = "{{ config(materialized='incremental', " + config + ") }}"
    root = write(tmp_path / "p", {"dbt_project.yml": "name: p", "models/m.sql": f"{head} select 1 as id, 2 as b"})
    build(lake, root)
    columns = "2 as id" if "fail" in config else "2 as id, 3 as b"
    write(root, {"models/m.sql": f"{head} select {columns} union all select {columns}"})
    result = build(lake, root)["m"]
    assert result.status == "error" and said in result.message


def test_hooks_run_around_models_and_around_the_build(lake: Lake, tmp_path: Path) -> None:
    note = "insert into lake.main.notes select '{}', count(*) from lake.main.notes"
    files = {
        "dbt_project.yml": "name: p\n"
        "on-run-start:\n"
        "  - create table if not exists lake.main.notes (what varchar, n bigint)\n"
        f'  - "{note.format("start")}"\n'
        "on-run-end:\n"
        '  - "{{ ended(results) }}"\n',
        "macros/ended.sql": "{% macro ended(results) %}{% if execute %}insert into lake.main.notes select 'end of "
        "{{ results | length }}', max(n) from ({{ 'select n from lake.main.notes' }}){% endif %}{% endmacro %}",
        "models/m.sql": "{{ config(materialized='table', pre_hook=\"" + note.format("before") + '", post_hook=['
        "\"insert into lake.main.notes select '{{ this.identifier }}', a from {{ this }}\"]) }} select 7 as a",
    }
    root = write(tmp_path / "p", files)
    assert build(lake, root)["m"].status == "built"
    query = "select what, n from lake.main.notes order by all"
    once = [("before", 1), ("end of 1", 7), ("m", 7), ("start", 0)]
    assert lake.cursor().execute(query).fetchall() == once
    assert build(lake, root)["m"].status == "unchanged"
    assert [row[0] for row in lake.cursor().execute(query).fetchall()].count("start") == 2, "hooks run every time"
    (root / "dbt_project.yml").write_text("name: p\non-run-start: [select nothing]\n")
    with pytest.raises(CuveeError, match="on-run-start failed"):
        build(lake, root)
