"""Snapshots: what is kept, when they are built, and what is refused. That they equal dbt's is tests/conformance's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.helpers import write
from tests.warehouse.expensive_functions import functions
from tests.warehouse.helpers import build, why
from udfs.errors import CuveeError
from warehouse.build import build as building
from warehouse.lake.lake import Lake
from warehouse.project.project import ProjectErrors

CHECK = "strategy='check', unique_key='id', check_cols='all'"


def project(root: Path, query: str = "select * from {{ ref('items') }}", config: str = CHECK) -> Path:
    return write(
        root,
        {
            "dbt_project.yml": "name: p\nmodels: {p: {+materialized: table}}\n",
            "seeds/items.csv": "id,name\n1,one\n2,two\n",
            "snapshots/kept.sql": f"{{% snapshot kept %}}\n{{{{ config({config}) }}}}\n{query}\n{{% endsnapshot %}}\n",
            "models/names.sql": "select id, name, dbt_valid_to is null as now from {{ ref('kept') }}",
        },
    )


def kept(lake: Lake, columns: str = "id, name, dbt_valid_to is null") -> list[tuple[object, ...]]:
    return lake.cursor().execute(f"select {columns} from main.kept order by dbt_valid_from, id").fetchall()


def test_it_is_built_when_what_it_reads_changes_and_only_then(lake: Lake, tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    assert why(lake, root)["kept"] == "never built"
    build(lake, root)
    assert why(lake, root) == {}
    before = lake.snapshot()
    assert build(lake, root)["kept"].status == "unchanged" and lake.snapshot() == before
    write(root, {"seeds/items.csv": "id,name\n1,one\n2,second\n"})
    assert why(lake, root) == {
        "items": "seed rows changed",
        "kept": "upstream data changed: items",
        "names": "upstream data changed: kept",
    }
    build(lake, root)
    assert kept(lake) == [(1, "one", True), (2, "two", False), (2, "second", True)]
    assert lake.cursor().execute("select count(*) from main.names").fetchone() == (3,)


def test_neither_a_full_refresh_nor_another_query_forgets(lake: Lake, tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    build(lake, root)
    write(root, {"seeds/items.csv": "id,name\n1,one\n2,second\n"})
    assert build(lake, root, full_refresh=True)["kept"].status == "built"
    assert why(lake, root, full_refresh=True).keys() == {"items", "names"}
    project(root, "select *, upper(name) as loud from {{ ref('items') }}")
    write(root, {"seeds/items.csv": "id,name\n1,one\n2,second\n"})
    assert why(lake, root)["kept"] == "SQL changed"
    build(lake, root)
    project(root, "select id, upper(name) as loud from {{ ref('items') }} where id = 2")
    write(root, {"seeds/items.csv": "id,name\n1,one\n2,third\n"})
    build(lake, root)
    assert kept(lake, "id, name, loud, dbt_valid_to is null") == [
        (1, "one", None, False),
        (2, "two", None, False),
        (2, "second", None, False),
        (1, "one", "ONE", True),
        (2, "second", "SECOND", False),
        (2, None, "THIRD", True),
    ]


def test_readers_see_history_even_where_the_data_is_back_to_what_it_was(lake: Lake, tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    build(lake, root)
    for rows in ("1,one\n2,second\n", "1,one\n2,two\n"):
        write(root, {"seeds/items.csv": f"id,name\n{rows}"})
        build(lake, root, "kept", "items")
    assert "names" in why(lake, root)
    build(lake, root)
    names = lake.cursor().execute("select name, now from main.names where id = 2 order by all").fetchall()
    assert names == [("second", False), ("two", False), ("two", True)]


def test_a_snapshot_of_a_source_follows_its_rows(lake: Lake, tmp_path: Path) -> None:
    config = "{strategy: check, unique_key: doc_id, check_cols: [text], hard_deletes: invalidate}"
    root = write(
        tmp_path / "p",
        {
            "dbt_project.yml": "name: p",
            "models/schema.yml": "sources: [{name: raw, tables: [{name: documents}]}]\nsnapshots:\n"
            f"  - name: seen\n    relation: source('raw', 'documents')\n    config: {config}\n"
            "    columns: [{name: doc_id, data_tests: [not_null]}]\n",
        },
    )
    with lake.commit("rows") as commit:
        commit.sql("insert into lake.raw.documents values ('a', 'text', 4, 'f'), ('b', 'text', 4, 'f')")
    results = build(lake, root)
    assert results["seen"].status == "built" and results["not_null_seen_doc_id"].status == "pass"
    assert why(lake, root) == {}
    with lake.commit("rows") as commit:
        commit.sql("delete from lake.raw.documents where doc_id = 'a'")
    assert why(lake, root)["seen"] == "upstream data changed: raw.documents"
    build(lake, root)
    rows = lake.cursor().execute("select doc_id, dbt_valid_to is null from main.seen order by 1").fetchall()
    assert rows == [("a", False), ("b", True)]


def test_expensive_functions_answer_in_snapshots(lake: Lake, tmp_path: Path) -> None:
    root = project(tmp_path / "p", "select id, name, length_class(name) as c from {{ ref('items') }}")
    for name in ("two", "second"):
        write(root, {"seeds/items.csv": f"id,name\n1,one\n2,{name}\n"})
        results = building.build(lake, root, functions=functions())
        assert not [result.message for result in results if result.failed]
    classes = kept(lake, "name, c")
    assert [name for name, _ in classes] == ["one", "two", "second"] and None not in [c for _, c in classes]


def test_a_failed_build_leaves_the_history_as_it_was(lake: Lake, tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    build(lake, root)
    project(root, config=f"{CHECK}, post_hook='select nothing from nowhere'")
    write(root, {"seeds/items.csv": "id,name\n1,one\n2,second\n"})
    assert build(lake, root)["kept"].status == "error"
    assert kept(lake) == [(1, "one", True), (2, "two", True)]
    write(root, {"seeds/items.csv": "id,name\n1,one\n1,again\n"})
    project_files = root / "snapshots/kept.sql"
    project_files.write_text(project_files.read_text().replace(", post_hook='select nothing from nowhere'", ""))
    failed = build(lake, root)["kept"]
    assert failed.status == "error" and "several rows have the unique_key 1" in failed.message
    assert "snapshots/kept.sql:2" in failed.message
    assert kept(lake) == [(1, "one", True), (2, "two", True)]


@pytest.mark.parametrize("kind", ["table", "view"])
def test_what_is_no_snapshot_is_not_written_over(lake: Lake, tmp_path: Path, kind: str) -> None:
    with lake.commit("before") as commit:
        commit.sql(f"create {kind} lake.main.kept as select 'precious' as a")
    failed = build(lake, project(tmp_path / "p"))["kept"]
    assert failed.status == "error" and "main.kept" in failed.message
    assert lake.cursor().execute("from main.kept").fetchall() == [("precious",)]


def test_an_error_in_a_query_names_its_line_in_the_file(lake: Lake, tmp_path: Path) -> None:
    root = project(tmp_path / "p", "select id,\n  nowhere\nfrom {{ ref('items') }}")
    message = build(lake, root)["kept"].message
    assert "snapshots/kept.sql:4" in message and "4 |   nowhere" in message


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("strategy='check', unique_key=['id', 'idd'], check_cols='all'", "unique_key is idd: Binder Error: Referenced"),
        ("strategy='timestamp', unique_key='id', updated_at='at_no_time'", "updated_at is at_no_time: Binder Error"),
        (f"{CHECK}, dbt_valid_to_current='no_such()'", "dbt_valid_to_current is no_such(): Catalog Error"),
        ("strategy='check', unique_key='id', check_cols=['naem']", "no column naem for check_cols"),
    ],
)
def test_a_setting_that_does_not_fit_the_query_is_named(lake: Lake, tmp_path: Path, config: str, said: str) -> None:
    failed = build(lake, project(tmp_path / "p", config=config))["kept"]
    assert failed.status == "error" and said in failed.message and "snapshots/kept.sql:2" in failed.message


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("unique_key='id'", "it has no strategy"),
        ("strategy='chek', unique_key='id'", "did you mean check?"),
        ("strategy='check', check_cols='all'", "it has no unique_key"),
        ("strategy='check', unique_key='id', check_cols='name'", "check_cols is 'name'"),
        ("strategy='timestamp', unique_key='id'", "needs updated_at"),
        ("strategy='timestamp', unique_key='id', updated_at='name', check_cols='all'", "takes no check_cols"),
        (f"{CHECK}, hard_deletes='invalidat'", "did you mean invalidate?"),
        (f"{CHECK}, hard_deletes='ignore', invalidate_hard_deletes=true", "both hard_deletes and"),
        (f"{CHECK}, snapshot_meta_column_names={{'dbt_valid': 'x'}}", "did you mean dbt_valid_"),
        (f"{CHECK}, materialized='table'", "always a table"),
    ],
)
def test_settings_that_cannot_be_are_found_before_anything_is_built(
    lake: Lake, tmp_path: Path, config: str, said: str
) -> None:
    with pytest.raises(ProjectErrors) as caught:
        build(lake, project(tmp_path / "p", config=config))
    assert said in str(caught.value) and "snapshots/kept.sql:2" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n{% snapshot a %} select 1", "snapshots/kept.sql:2: snapshot a has no end"),
        ("{% endsnapshot %}", "snapshots/kept.sql:1: {% endsnapshot %} without a snapshot"),
        ("{% snapshot a %}\n{% snapshot b %}{% endsnapshot %}", "snapshots/kept.sql:2: a snapshot inside a snapshot"),
    ],
)
def test_blocks_that_do_not_close(lake: Lake, tmp_path: Path, text: str, said: str) -> None:
    root = project(tmp_path / "p")
    (root / "snapshots/kept.sql").write_text(text)
    with pytest.raises(CuveeError) as caught:
        build(lake, root)
    assert said in str(caught.value)


def test_the_command_builds_snapshots_alone(lake: Lake, tmp_path: Path) -> None:
    from warehouse.cli.main import cli

    root = project(tmp_path / "p")
    more = ["--json", "--lake", str(lake.root), "--project-dir", str(root)]

    def cuvee(*args: str) -> list[dict[str, str]]:
        done = CliRunner().invoke(cli, [*args, *more], catch_exceptions=False)
        found: list[dict[str, str]] = json.loads(done.stdout)
        return found

    cuvee("seed")
    assert [(each["name"], each["status"]) for each in cuvee("snapshot")] == [("kept", "built")]
    assert [each["name"] for each in cuvee("ls", "--select", "resource_type:snapshot")] == ["kept"]
    assert [each["kind"] for each in cuvee("ls", "--resource-type", "snapshot")] == ["snapshot"]
    assert [each["name"] for each in cuvee("ls", "--select", "kept.kept")] == ["kept"]
