"""Builds of a part (--empty, --sample), and builds that read elsewhere (--defer)."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import md5
from pathlib import Path

import pytest

from tests.helpers import write
from tests.warehouse.expensive_functions import functions
from tests.warehouse.helpers import build, call, why
from udfs.errors import UsageError
from warehouse.build import build as building
from warehouse.build.build_options import BuildOptions
from warehouse.graph.loaded_project import open_project
from warehouse.lake.lake import Lake
from warehouse.project.options import Selection
from warehouse.render.input_sample import sample_of


def rows(lake: Lake, table: str, column: str = "*") -> list[tuple[object, ...]]:
    return lake.cursor().execute(f"select {column} from {table} order by all").fetchall()


def test_an_empty_build_runs_everything_and_passes_for_nothing(lake: Lake, shop: Path) -> None:
    results = build(lake, shop, empty=True)
    assert not [each for each in results.values() if each.failed]
    assert rows(lake, "main_marts.customers") == rows(lake, "main_marts.order_log") == []
    assert len(rows(lake, "main.raw_orders")) == 3, "seeds are what they are"
    assert why(lake, shop, empty=True) == {}

    said = why(lake, shop)
    assert said["customers"] == "built in part the last time: --empty"
    assert said["stg_orders"].startswith("built in part")
    build(lake, shop)
    assert len(rows(lake, "main_marts.customers")) == len(rows(lake, "main_marts.order_log")) == 3
    assert why(lake, shop) == {}


def test_what_is_made_of_a_part_does_not_pass_for_all(lake: Lake, shop: Path) -> None:
    build(lake, shop)
    build(lake, shop, "customers", empty=True)
    model = shop / "models/marts/recent_orders.sql"
    model.write_text(model.read_text().replace("c.name", "c.name, 1 as one"))
    build(lake, shop, "recent_orders")
    assert rows(lake, "main_marts.recent_orders") == []
    assert why(lake, shop)["recent_orders"] == "upstream data changed: customers"
    build(lake, shop)
    assert len(rows(lake, "main_marts.recent_orders")) == 2


def test_what_was_not_rebuilt_above_is_seen_later(lake: Lake, shop: Path) -> None:
    build(lake, shop)
    model = shop / "models/marts/customers.sql"
    model.write_text(model.read_text().replace("c.name,", "upper(c.name) as name,", 1))
    assert "recent_orders" in why(lake, shop)
    assert {each.status for each in build(lake, shop, "recent_orders").values()} == {"unchanged"}
    assert "recent_orders" in why(lake, shop), "it still holds the old names"
    seed = shop / "seeds/raw_orders.csv"
    seed.write_text(seed.read_text() + "4;2;7;2024-04-01\n")
    building.build(lake, shop, Selection(kinds=("model",)))
    assert len(rows(lake, "main_marts.order_log")) == 3
    build(lake, shop)
    assert len(rows(lake, "main_marts.order_log")) == 4, "the seed was loaded after the models were built"


def documents(lake: Lake, root: Path) -> Path:
    with lake.commit("rows") as commit:
        commit.sql("insert into lake.raw.documents select 'd' || i, 'text', 4, 'f' from range(100) as t(i)")
    return write(
        root,
        {
            "dbt_project.yml": "name: p\nmodels: {p: {+materialized: table}}",
            "models/s.yml": "sources: [{name: raw, tables: [{name: documents}]}]",
            "models/stg.sql": "{{ config(materialized='view') }}"
            " select doc_id, text from {{ source('raw', 'documents') }}",
            "models/picked.sql": "select doc_id from {{ ref('stg') }}",
            "models/numbers.sql": "{{ config(materialized='view') }} select i from range(50) as t(i)",
            "models/first.sql": "select i from {{ ref('numbers') }}",
            "models/log.sql": "{{ config(materialized='incremental') }} select doc_id from {{ ref('stg') }}"
            "{% if is_incremental() %} where doc_id not in (select doc_id from {{ this }}){% endif %}",
        },
    )


def test_a_sample_is_the_same_documents_everywhere(lake: Lake, tmp_path: Path) -> None:
    root = documents(lake, tmp_path / "p")
    results = build(lake, root, sample="7")
    assert not [each for each in results.values() if each.failed]
    first = sorted((f"d{i}" for i in range(100)), key=lambda doc_id: md5(doc_id.encode()).hexdigest())[:7]
    assert rows(lake, "main.stg", "doc_id") == rows(lake, "main.picked") == [(each,) for each in sorted(first)]
    assert len(rows(lake, "main.first")) == 7 and len(rows(lake, "main.numbers")) == 50, "no input, no sample"
    assert why(lake, root, sample="7") == {}
    assert why(lake, root, sample="9")["picked"] == "in part: --sample 9"


def test_a_sample_pays_for_its_own_documents_only(lake: Lake, tmp_path: Path) -> None:
    root = documents(lake, tmp_path / "p")
    with lake.commit("rows") as commit:
        commit.sql("update lake.raw.documents set text = 'text of ' || doc_id")
    write(root, {"models/dear.sql": "select doc_id, length_class(d.text) as n from {{ ref('stg') }} as d"})
    calls = tmp_path / "calls"
    calls.touch()
    for options, asked in ((BuildOptions(empty=True), 0), (BuildOptions(sample="7"), 7)):
        results = building.build(lake, root, Selection(("+dear",)), options=options, functions=functions(calls))
        assert not [each.message for each in results if each.failed]
        assert len(rows(lake, "main.dear")) == len(calls.read_text().splitlines()) == asked


def test_an_incremental_model_forgets_its_sample(lake: Lake, tmp_path: Path) -> None:
    root = documents(lake, tmp_path / "p")
    build(lake, root, sample="7")
    with lake.commit("rows") as commit:
        commit.sql("update lake.main.log set doc_id = doc_id || ' of the sample'")
    build(lake, root)
    assert len(rows(lake, "main.log")) == 100 and not [each for (each,) in rows(lake, "main.log") if " " in str(each)]

    model = root / "models/log.sql"
    model.write_text(model.read_text().replace("'incremental'", "'incremental', full_refresh=false"))
    results = build(lake, root, sample="7")
    assert results["log"].status == "error" and "full_refresh: false" in results["log"].message
    assert len(rows(lake, "main.log")) == 100


def test_a_sample_of_a_time(lake: Lake, shop: Path) -> None:
    (shop / "models/times.yml").write_text("models: [{name: stg_customers}]\n")
    settings = (shop / "models/schema.yml").read_text()
    settings = settings.replace(
        "    description: One row", "    config: {event_time: ordered_on}\n    description: One row"
    )
    (shop / "models/schema.yml").write_text(settings)
    (shop / "models/times.yml").unlink()
    build(lake, shop, sample="{start: 2024-01-02, end: 2024-02-01}")
    inside = rows(lake, "main.stg_orders where ordered_on >= date '2024-01-02' and ordered_on < date '2024-02-01'")
    assert 0 < len(inside) < 3
    assert [row[0] for row in rows(lake, "main_marts.order_log", "order_id")] == [row[0] for row in inside]
    assert len(rows(lake, "main_marts.customers")) == 3, "customers have no time"


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("5 hours", (2024, 3, 31, 7)),
        ("2 days", (2024, 3, 29, 12)),
        ("1 month", (2024, 2, 29, 12)),
        ("1 year", (2023, 3, 31, 12)),
    ],
)
def test_times_back_from_now(text: str, start: tuple[int, int, int, int]) -> None:
    now = datetime(2024, 3, 31, 12, tzinfo=UTC)
    part = sample_of(BuildOptions(sample=text), now)
    assert part and part.window == (datetime(*start, tzinfo=UTC), now)


def test_what_is_no_sample() -> None:
    for text in ("some", "3 weeks", "{start: 2024-01-01}", "-3"):
        with pytest.raises(UsageError, match="is not a valid sample"):
            sample_of(BuildOptions(sample=text))
    with pytest.raises(UsageError, match="exclude each other"):
        sample_of(BuildOptions(sample="3", empty=True))


def test_what_is_not_built_here_is_read_there(lake: Lake, shop: Path, tmp_path: Path) -> None:
    state = tmp_path / "production"
    assert call(lake, shop, "build", "--target-path", str(state))[0] == 0
    deferring = ("--target", "ci", "--defer", "--state", str(state))
    assert call(lake, shop, "build", "--target", "ci", "--select", "recent_orders")[0] == 1, "nothing is built there"
    code, said = call(lake, shop, "build", "--select", "recent_orders", *deferring)
    assert code == 0, said
    assert rows(lake, "ci_marts.recent_orders") == rows(lake, "main_marts.recent_orders")
    assert "1 unchanged" in call(lake, shop, "build", "--select", "recent_orders", *deferring)[1]

    with lake.commit("production goes on") as commit:
        commit.sql("update lake.main_marts.customers set name = 'Someone'")
    assert "1 built" in call(lake, shop, "build", "--select", "recent_orders", *deferring)[1]
    assert set(rows(lake, "ci_marts.recent_orders", "name")) == {("Someone",)}


def test_a_state_is_favoured_only_when_told(lake: Lake, shop: Path, tmp_path: Path) -> None:
    state = tmp_path / "production"
    building.build(lake, shop, options=BuildOptions(target_path=state))
    building.build(lake, shop, options=BuildOptions(target="ci"))

    def sql(**options: bool) -> str:
        from warehouse.build.node_selection import deferred

        opened = open_project(lake, shop, BuildOptions(target="ci", state=state, defer=True, **options))
        return deferred(opened, Selection(("recent_orders",))).graph.steps["model.shop.recent_orders"].sql

    assert '"ci_marts"."customers"' in sql()
    assert '"main_marts"."customers"' in sql(favor_state=True) and '"main"."stg_orders"' in sql(favor_state=True)


def test_defer_needs_a_state(lake: Lake, shop: Path) -> None:
    code, said = call(lake, shop, "build", "--defer")
    assert code != 0 and "--state DIR" in said
