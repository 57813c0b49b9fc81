"""The age of sources: from a column, from a query, from the lake's own catalog."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.helpers import write
from udfs.errors import CuveeError
from warehouse.build.freshness import Freshness, check
from warehouse.graph.loaded_project import open_project
from warehouse.lake.lake import Lake
from warehouse.lake.maintenance import compact, expire
from warehouse.project.options import Selection

DAY = "{count: 1, period: day}"


def project(root: Path, sources: str) -> Path:
    return write(root, {"dbt_project.yml": "name: p", "models/sources.yml": f"sources:\n{sources}"})


def ages(lake: Lake, root: Path, *chosen: str) -> dict[str, Freshness]:
    return {each.source: each for each in check(open_project(lake, root), Selection(chosen))}


def fill(lake: Lake, statement: str) -> None:
    with lake.commit("rows") as commit:
        commit.sql(statement)


def test_a_column_says_when_rows_came(lake: Lake, tmp_path: Path) -> None:
    fill(
        lake,
        "create table lake.raw.events as select * from (values"
        " (now() - interval 30 hour, now() at time zone 'UTC' - interval 3 day, 'a'),"
        " (now() - interval 50 hour, now() at time zone 'UTC' - interval 1 hour, 'b')) as t(zoned, plain, k)",
    )
    fill(lake, "create table lake.raw.empty (came timestamp)")
    limits = f"{{warn_after: {DAY}, error_after: {{count: 2, period: day}}}}"
    root = project(
        tmp_path / "p",
        f"""  - name: raw
    freshness: {limits}
    config: {{loaded_at_field: zoned}}
    tables:
      - {{name: events}}
      - {{name: only_b, identifier: events, freshness: {{filter: "k = 'b'"}}}}
      - {{name: plain, identifier: events, loaded_at_field: plain}}
      - name: asked
        identifier: events
        config: {{loaded_at_query: "select min(plain) from {{{{ this }}}}", freshness: {{error_after: null}}}}
      - {{name: empty, loaded_at_field: came}}
      - {{name: not_asked, identifier: events, freshness: null}}
      - {{name: nowhere}}
      - {{name: no_time, identifier: events, loaded_at_field: k}}
""",
    )
    found = ages(lake, root)
    assert {name.removeprefix("raw."): each.status for name, each in found.items()} == {
        "events": "warn",
        "only_b": "error",
        "plain": "pass",
        "asked": "warn",
        "empty": "error",
        "nowhere": "runtime error",
        "no_time": "runtime error",
    }
    assert found["raw.events"].age == pytest.approx(30 * 3600, abs=60)
    assert found["raw.plain"].age == pytest.approx(3600, abs=60), "a time without a zone is UTC"
    assert found["raw.empty"].age is None
    assert "k is VARCHAR, not a time" in found["raw.no_time"].message
    assert "nowhere does not exist" in found["raw.nowhere"].message
    assert ages(lake, root, "source:raw.plain").keys() == {"raw.plain"}


def test_without_a_column_the_lake_knows_when_rows_came_or_went(lake: Lake, tmp_path: Path) -> None:
    root = project(
        tmp_path / "p",
        f"  - {{name: raw, freshness: {{warn_after: {DAY}}}, tables: [{{name: documents}}, {{name: rejects}}]}}\n",
    )
    assert ages(lake, root)["raw.documents"].age is None, "a table that never had a row was never loaded"
    fill(lake, "insert into lake.raw.documents values ('a', 'text', 4, 'f'), ('b', 'text', 4, 'f')")
    fill(lake, "insert into lake.raw.documents values ('c', 'text', 4, 'f')")
    time.sleep(0.05)
    between = datetime.now(UTC)
    fill(lake, "create table lake.raw.other as select 1 as a")
    compact(lake)
    loaded = ages(lake, root)["raw.documents"]
    assert loaded.status == "pass" and loaded.loaded_at is not None and loaded.loaded_at < between
    assert ages(lake, root)["raw.rejects"].status == "warn"
    fill(lake, "delete from lake.raw.documents where doc_id = 'a'")
    deleted = ages(lake, root)["raw.documents"].loaded_at
    assert deleted is not None and deleted > between
    fill(lake, "insert into lake.raw.other values (2)")
    expire(lake, older_than_days=0)
    bound = ages(lake, root)["raw.documents"].loaded_at
    assert bound is not None and deleted <= bound, "the next snapshot that is left is the bound"


def test_settings_that_cannot_be(lake: Lake, tmp_path: Path) -> None:
    for limit, said in (("{count: 2}", "warn_after: {count: 12"), ("{count: 2, period: days}", "did you mean day?")):
        root = project(
            tmp_path / "p", f"  - name: raw\n    tables:\n      - {{name: x, freshness: {{warn_after: {limit}}}}}\n"
        )
        with pytest.raises(CuveeError, match=r"models/sources.yml:4: source raw.x: warn_after needs") as caught:
            check(open_project(lake, root))
        assert said in str(caught.value)
    root = project(tmp_path / "p", "  - {name: raw, tables: [{name: x, loaded_at_field: a, loaded_at_query: b}]}\n")
    with pytest.raises(CuveeError, match="both loaded_at_field and loaded_at_query"):
        open_project(lake, root)


def test_the_command(lake: Lake, tmp_path: Path) -> None:
    from warehouse.cli.main import cli

    fill(lake, "create table lake.raw.old as select timestamp '2020-01-01' as came")
    root = project(
        tmp_path / "p",
        f"  - {{name: raw, freshness: {{error_after: {DAY}}}, tables: [{{name: old, loaded_at_field: came}}]}}\n",
    )
    more = ["--lake", str(lake.root), "--project-dir", str(root)]
    done = CliRunner().invoke(cli, ["source", "freshness", "--json", *more])
    assert isinstance(done.exception, CuveeError) and done.exception.exit_code == 1
    assert "raw.old" in str(done.exception)
    (row,) = json.loads(done.stdout)
    assert row["status"] == "error" and row["loaded_at"] == "2020-01-01T00:00:00+00:00" and row["age"] > 1e8
    assert row["error_after"] == {"count": 1, "period": "day"} and row["warn_after"] is None
    shown = CliRunner().invoke(cli, ["source", "freshness", *more]).stdout
    assert "raw.old" in shown and "2020-01-01 00:00:00" in shown and "1 day" in shown
    nothing = CliRunner().invoke(cli, ["source", "freshness", "--exclude", "source:raw", *more])
    assert nothing.exit_code == 0
