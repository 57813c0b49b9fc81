"""What Cuvée writes into target/ beside what dbt writes there for the same project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.peer import QUIET, profile, run_dbt
from tests.helpers import PROJECTS
from warehouse.build import build as building
from warehouse.build.build_options import BuildOptions
from warehouse.build.node_selection import selected_nodes
from warehouse.graph.loaded_project import open_project
from warehouse.lake.lake import Lake
from warehouse.project.options import Selection


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    project = Path(shutil.copytree(PROJECTS / "shop", tmp_path / "shop"))
    profile(project, "shop")
    return project


def artifact(folder: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / name).read_text())
    return content


def edges(manifest: dict[str, Any], name: str) -> dict[str, list[str]]:
    return {key: sorted(near) for key, near in manifest[name].items()}


def test_the_manifest_says_what_dbts_says(dbt: Path, shop: Path, lake: Lake, tmp_path: Path) -> None:
    run_dbt(dbt, shop, "compile", "--target-path", str(tmp_path / "theirs"))
    building.build(lake, shop, options=BuildOptions(target_path=tmp_path / "ours"))
    ours, theirs = (artifact(tmp_path / side, "manifest.json") for side in ("ours", "theirs"))

    assert ours.keys() == theirs.keys()
    for name in ("dbt_schema_version", "project_name", "project_id", "adapter_type"):
        assert ours["metadata"][name] == theirs["metadata"][name]
    assert ours["nodes"].keys() == theirs["nodes"].keys()
    for name in ("parent_map", "child_map"):
        assert edges(ours, name) == edges(theirs, name)
    same = (
        "resource_type", "name", "alias", "schema", "package_name", "path", "original_file_path", "unique_id", "fqn",
        "raw_code", "checksum", "tags", "meta", "description", "columns", "refs", "sources", "unrendered_config",
        "column_name", "attached_node", "test_metadata", "file_key_name", "patch_path", "language", "docs",
    )  # fmt: skip
    for key, theirs_node in theirs["nodes"].items():
        node = ours["nodes"][key]
        for name in same:
            assert node.get(name) == theirs_node.get(name), (key, name)
        assert node["depends_on"].get("nodes") == theirs_node["depends_on"].get("nodes"), key
        assert own_macros(node) == own_macros(theirs_node), key
        assert node["config"].items() <= {**node["config"], **theirs_node["config"]}.items(), key
        relation = theirs_node["relation_name"]
        assert node["relation_name"] == (relation.replace('"dbt".', '"lake".') if relation else None), key
    for key, macro in theirs["macros"].items():
        if macro["package_name"] in ("shop", "handy"):
            for name in ("name", "macro_sql", "depends_on", "original_file_path", "package_name"):
                assert ours["macros"][key][name] == macro[name], (key, name)


def own_macros(node: dict[str, Any]) -> list[str]:
    return [each for each in node["depends_on"]["macros"] if not each.startswith("macro.dbt.")]


def test_sources_and_their_tests_are_named_as_in_dbt(dbt: Path, lake: Lake, tmp_path: Path) -> None:
    project = tmp_path / "p"
    (project / "models").mkdir(parents=True)
    (project / "dbt_project.yml").write_text("name: p\nprofile: p\nflags: {send_anonymous_usage_stats: false}\n")
    profile(project, "p")
    (project / "models/m.sql").write_text("select doc_id from {{ source('raw', 'documents') }}")
    (project / "models/s.yml").write_text("""
sources:
  - name: raw
    tables:
      - name: documents
        columns: [{name: doc_id, description: The key., data_tests: [not_null]}]
        data_tests: [{unique: {name: once, arguments: {column_name: "doc_id || text"}, config: {where: "true"}}}]
models:
  - name: m
    columns:
      - name: doc_id
        quote: true
        data_tests:
          - accepted_values:
              arguments: {values: [a long value to cut the name off, "it's", 3, 1.5, true], quote: false}
              config: {severity: warn, error_if: ">3"}
""")
    run_dbt(dbt, project, "parse", "--target-path", str(tmp_path / "theirs"))
    building.build(lake, project, options=BuildOptions(target_path=tmp_path / "ours"))
    ours, theirs = (artifact(tmp_path / side, "manifest.json") for side in ("ours", "theirs"))
    assert ours["nodes"].keys() == theirs["nodes"].keys()
    for key, node in theirs["nodes"].items():
        for name in ("name", "alias", "raw_code", "test_metadata", "attached_node", "column_name", "sources", "refs"):
            assert ours["nodes"][key].get(name) == node.get(name), (key, name)
    source = ours["sources"]["source.p.raw.documents"]
    for name in ("name", "schema", "identifier", "source_name", "fqn", "columns", "path", "resource_type"):
        assert source[name] == theirs["sources"]["source.p.raw.documents"][name]


def test_run_results_say_what_dbts_say(dbt: Path, shop: Path, lake: Lake, tmp_path: Path) -> None:
    edited("models/marts/customers.sql", "main.stg_orders", "{{ ref('stg_orders') }}")(shop)  # dbt sees no other edge
    for breaking in (False, True):
        if breaking:
            seed = shop / "seeds/raw_orders.csv"
            seed.write_text(seed.read_text() + "3;1;5;2024-03-01\n")
        call_dbt(dbt, shop, "build", "--target-path", str(tmp_path / "theirs"))
        building.build(lake, shop, options=BuildOptions(target_path=tmp_path / "ours"))
        ours, theirs = (artifact(tmp_path / side, "run_results.json") for side in ("ours", "theirs"))
        found, expected = ({each["unique_id"]: each for each in side["results"]} for side in (ours, theirs))
        assert {key: each["status"] for key, each in found.items()} == {
            key: each["status"] for key, each in expected.items()
        }
        assert {each["status"] for each in found.values()} >= ({"fail", "skipped"} if breaking else {"success", "warn"})
        for key, each in expected.items():
            assert found[key].keys() == each.keys()
            assert found[key]["failures"] == each["failures"], key
        assert ours["args"]["which"] == theirs["args"]["which"]


def call_dbt(dbt: Path, project: Path, *arguments: str) -> str:
    done = subprocess.run(
        [dbt, *arguments, "--profiles-dir", "."], cwd=project, env=os.environ | QUIET, capture_output=True, text=True
    )
    return done.stdout


def edited(name: str, before: str, after: str) -> Callable[[Path], None]:
    def edit(project: Path) -> None:
        path = project / name
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))

    return edit


#: Edits whose effects lie on different nodes stand together: asking dbt takes seconds each time.
EDITS: dict[str, list[Callable[[Path], object]]] = {
    "nothing": [],
    "texts": [
        edited("models/marts/customers.sql", "coalesce(o.orders, 0)", "o.orders"),
        edited("models/marts/recent_orders.sql", "select ", "select -- a comment\n"),
        edited("macros/money.sql", "* {{ by }}", "* 1 * {{ by }}"),
        edited("seeds/raw_customers.csv", "Ada", "Ada L."),
        edited("tests/no_negative_orders.sql", "< 0", "<= 0"),
        lambda project: (project / "models/new.sql").write_text("select 1 as x"),
    ],
    "settings": [
        edited("dbt_project.yml", "+materialized: table", "+materialized: view"),
        edited("dbt_project.yml", "code: varchar", "code: text"),
        edited("models/schema.yml", "severity: warn", "severity: error"),
        edited("models/schema.yml", "One row per order.", "Orders."),
        edited("macros/money.sql", "<= {{ at_least }}", "< {{ at_least }}"),
    ],
    "names": [
        edited("dbt_project.yml", "+schema: marts", "+schema: shown"),
        edited("dbt_project.yml", "[nightly]", "[weekly]"),
        edited("models/staging/stg_orders.sql", "select", "{{ config(alias='orders') }} select"),
    ],
    "tags and a package": [
        edited("dbt_project.yml", "[nightly]", "[weekly]"),
        edited("dbt_packages/handy/macros/handy.sql", "md5(", "sha256("),
    ],
}
STATES = ("new", "old", "modified", "unmodified", "modified.body", "modified.configs", "modified.relation",
          "modified.macros")  # fmt: skip
#: Asks dbt once per state, in one process: its start takes longer than the answer.
ASK = """
import json, sys
from dbt.cli.main import dbtRunner
folder, *states = sys.argv[1:]
found = {}
for state in states:
    keys = ["--output", "json", "--output-keys", "unique_id", "--select", f"state:{state}", "--state", folder]
    lines = dbtRunner().invoke(["-q", "ls", *keys, "--profiles-dir", "."]).result or []
    found[state] = [json.loads(line)["unique_id"] for line in lines]
print("FOUND" + json.dumps(found))
"""


def test_state_selects_what_dbt_selects(dbt: Path, shop: Path, lake: Lake, tmp_path: Path) -> None:
    """Our project against our manifest, and against dbt's, as dbt has it against its own."""
    dbts, ours = tmp_path / "dbts", tmp_path / "ours"
    run_dbt(dbt, shop, "parse", "--target-path", str(dbts))
    building.build(lake, shop, options=BuildOptions(target_path=ours))
    original = Path(shutil.copytree(shop, tmp_path / "original"))
    for title, edits in EDITS.items():
        shutil.rmtree(shop)
        shutil.copytree(original, shop)
        for edit in edits:
            edit(shop)
        done = subprocess.run(
            [dbt.parent / "python", "-c", ASK, dbts, *STATES],
            cwd=shop, env=os.environ | QUIET, capture_output=True, text=True,
        )  # fmt: skip
        expected = json.loads(done.stdout.partition("FOUND")[2])
        assert bool(expected["modified"]) == bool(edits), title
        for folder in (ours, dbts):
            opened = open_project(lake, shop, BuildOptions(state=folder))
            for state, keys in expected.items():
                assert selected_nodes(opened, Selection((f"state:{state}",))) == set(keys), (title, state, folder.name)
