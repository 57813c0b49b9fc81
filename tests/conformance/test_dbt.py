"""The same projects, built by dbt with dbt-duckdb and by Cuvée: every relation has the same columns and rows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime
from hashlib import md5
from pathlib import Path

import duckdb
import pytest

from tests.conformance.generate import generate
from warehouse import build as building
from warehouse import freshness
from warehouse.lake import Lake
from warehouse.opened import open_project
from warehouse.outcome import Options

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = ROOT / "tests" / "fixtures" / "projects"
QUIET = {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DBT_USE_COLORS": "false", "NO_COLOR": "1"}


@pytest.fixture(scope="module")
def dbt() -> Path:
    """dbt's command. `make test` installs it; elsewhere its absence is a reason to skip."""
    command = Path(os.environ.get("CUVEE_PEERS", ROOT / ".venv-peers")) / "bin" / "dbt"
    if not command.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"no dbt at {command}")
        pytest.skip(f"no dbt at {command}: make test installs it")
    return command


def run_dbt(dbt: Path, project: Path, *arguments: str) -> None:
    done = subprocess.run(
        [dbt, *arguments, "--profiles-dir", "."],
        cwd=project,
        env=os.environ | QUIET,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def profile(project: Path, name: str) -> Path:
    """Point a project at a database file beside it; returns the file."""
    database = project / "dbt.duckdb"
    (project / "profiles.yml").write_text(
        f"{name}:\n  target: dev\n  outputs:\n    dev: {{type: duckdb, path: '{database}', schema: main, threads: 2}}\n"
    )
    return database


def relations(connection: duckdb.DuckDBPyConnection, catalog: str) -> dict[str, tuple[list[str], list[str]]]:
    """Column names, and rows as text in an order of their own, of every table and view outside Cuvée's own schemas."""
    found = connection.execute(
        "select table_schema, table_name from information_schema.tables"
        " where table_catalog = ? and (table_schema = 'main' or table_schema like 'main\\_%' escape '\\')",
        [catalog],
    ).fetchall()
    result = {}
    for schema, table in found:
        rows = connection.execute(f'from "{catalog}"."{schema}"."{table}"')
        names = [column[0].lower() for column in rows.description or ()]
        result[f"{schema}.{table}"] = (names, sorted(map(repr, rows.fetchall())))
    return result


def types(connection: duckdb.DuckDBPyConnection, catalog: str) -> dict[str, list[str]]:
    """The columns' types of every table and view. A lake has no HUGEINT: what DuckDB makes one is a BIGINT there."""
    found = connection.execute(
        "select schema_name || '.' || table_name, list(replace(data_type, 'HUGEINT', 'BIGINT') order by column_index)"
        " from duckdb_columns() where database_name = ? and schema_name like 'main%' and not internal group by all",
        [catalog],
    )
    return dict(found.fetchall())


def built_by_both(dbt: Path, project: Path, name: str, lake: Lake, times: int = 1) -> list[str]:
    """Build with both, compare, and return the relations' names."""
    database = profile(project, name)
    for _ in range(times):
        run_dbt(dbt, project, "build")
        results = building.build(lake, project)
        assert not [result for result in results if result.failed]
    with duckdb.connect(str(database), read_only=True) as connection:
        theirs = relations(connection, "dbt")
    ours = relations(lake.cursor(), "lake")
    assert ours.keys() == theirs.keys()
    for each, rows in theirs.items():
        assert ours[each] == rows, each
    return sorted(theirs)


def test_a_shop_with_packages_macros_ephemeral_and_incremental_models(dbt: Path, lake: Lake, tmp_path: Path) -> None:
    project = Path(shutil.copytree(PROJECTS / "shop", tmp_path / "shop"))
    names = built_by_both(dbt, project, "shop", lake, times=2)
    assert {"main_marts.customers", "main_marts.order_log", "main.stg_orders", "main.raw_orders"} <= set(names)


def test_macros_that_differ_between_databases(dbt: Path, lake: Lake, tmp_path: Path) -> None:
    project = Path(shutil.copytree(PROJECTS / "across", tmp_path / "across"))
    assert len(built_by_both(dbt, project, "across", lake)) == 17
    with duckdb.connect(str(project / "dbt.duckdb"), read_only=True) as connection:
        assert types(lake.cursor(), "lake") == types(connection, "dbt")


def test_a_hundred_models_and_three_hundred_tests(dbt: Path, lake: Lake, tmp_path: Path) -> None:
    project = generate(tmp_path / "generated", models=100)
    assert len(built_by_both(dbt, project, "generated", lake)) == 101


def test_every_way_of_adding_to_a_table(dbt: Path, lake: Lake, tmp_path: Path) -> None:
    settings = {
        "appended": "incremental_strategy='append'",
        "replaced": "unique_key='id'",
        "replaced_by_two": "unique_key=['id', 'a'], incremental_strategy='delete+insert'",
        "merged": "unique_key='id', incremental_strategy='merge'",
        "merged_in_part": "unique_key='id', incremental_strategy='merge', merge_update_columns=['a']",
        "merged_but": "unique_key='id', incremental_strategy='merge', merge_exclude_columns=['a']",
        "widened": "unique_key='id', on_schema_change='append_new_columns'",
        "synced": "unique_key='id', on_schema_change='sync_all_columns'",
    }
    project = tmp_path / "added"
    for folder in ("models", "seeds"):
        (project / folder).mkdir(parents=True)
    (project / "dbt_project.yml").write_text("name: added\nversion: '1.0'\nprofile: added\n")
    seed = project / "seeds/given.csv"
    seed.write_text("batch,id,a,b\n1,1,x,1\n1,2,x,1\n1,,x,1\n")
    for name, config in settings.items():
        more = ", 'more' as c" if name in ("widened", "synced") else ""
        (project / f"models/{name}.sql").write_text(
            f"{{{{ config(materialized='incremental', {config}) }}}}\n"
            f"select id, a, b{{% if is_incremental() %}}{more}{{% endif %}} from {{{{ ref('given') }}}}\n"
            "{% if is_incremental() %} where batch = 2{% endif %}\n"
        )
    built_by_both(dbt, project, "added", lake)
    seed.write_text(seed.read_text() + "2,2,y,2\n2,3,y,2\n2,,y,2\n")
    assert len(built_by_both(dbt, project, "added", lake)) == len(settings) + 1


ITEMS = (
    """id,part,name,amount,changed_at
1,a,stays,1.5,2024-01-01 00:00:00
2,a,changes,2.5,2024-01-01 00:00:00
2,b,changes unseen,,2024-01-02 00:00:00
3,a,goes,3.5,2024-01-03 00:00:00
4,a,goes and comes,4.5,2024-01-04 00:00:00
""",
    """id,part,name,amount,changed_at,note
1,a,stays,1.5,2024-01-01 00:00:00,
2,a,changed,2.5,2024-02-01 00:00:00,n
2,b,changed unseen,7.5,2024-01-02 00:00:00,n
5,a,new,5.5,2024-02-05 00:00:00,n
""",
    """id,part,amount,changed_at,note
1,a,1.5,2024-01-01 00:00:00,
2,a,,2024-03-01 00:00:00,n
2,b,7.5,2024-01-02 00:00:00,m
4,a,4.5,2024-01-04 00:00:00,back
5,a,5.5,2024-02-05 00:00:00,n
""",
)


def snapshots() -> dict[str, str]:
    """Settings of snapshots by name: every strategy with every treatment of deleted rows, and each other setting."""
    found: dict[str, str] = {}
    for deletes in ("ignore", "invalidate", "new_record"):
        both = f"hard_deletes='{deletes}'"
        found[f"at_{deletes}"] = f"strategy='timestamp', updated_at='changed_at', unique_key=['id', 'part'], {both}"
        found[f"at_{deletes}_one"] = f"strategy='timestamp', updated_at='changed_at', unique_key='id || part', {both}"
        found[f"all_{deletes}"] = f"strategy='check', check_cols='all', unique_key=['id', 'part'], {both}"
        found[f"some_{deletes}"] = f"strategy='check', check_cols=['amount'], unique_key=['id', 'part'], {both}"
        current = """dbt_valid_to_current="'9999-12-31'::timestamp\""""
        found[f"current_{deletes}"] = f"{found[f'at_{deletes}']}, {current}"
        found[f"current_some_{deletes}"] = f"{found[f'some_{deletes}']}, {current}"
    found["dated"] = "strategy='check', check_cols=['amount'], updated_at='changed_at', unique_key=['id', 'part']"
    found["older"] = "strategy='check', check_cols='all', unique_key='id || part', invalidate_hard_deletes=true"
    found["placed"] = f"{found['at_new_record']}, target_schema='main_kept', alias='elsewhere'"
    found["named"] = f"{found['at_new_record']}, schema='named', snapshot_meta_column_names=" + repr(
        {"dbt_valid_to": "until", "dbt_valid_from": "since", "dbt_scd_id": "version", "dbt_is_deleted": "gone"}
    )
    return found


def versions(connection: duckdb.DuckDBPyConnection, catalog: str, began: datetime) -> dict[str, list[str]]:
    """Every relation's rows, with the times of builds as the number of the build, and digests over such times out.

    Of those digests it is seen to that they are what dbt says: of the key's values and dbt_updated_at.
    """
    found = {}
    for name, (columns, _) in relations(connection, catalog).items():
        rows = connection.execute(f'from "{catalog}".{name}').fetchall()
        clock = sorted({value for row in rows for value in row if is_clock(value, began)})
        builds = {value: f"build {number}" for number, value in enumerate(clock)}
        scd_id = next((columns.index(each) for each in ("dbt_scd_id", "version") if each in columns), None)
        updated = columns.index("dbt_updated_at") if "dbt_updated_at" in columns else None
        shown = []
        for row in rows:
            if updated is not None and scd_id is not None and is_clock(row[updated], began):
                at = f"{row[updated]:%Y-%m-%d %H:%M:%S.%f}".rstrip("0").rstrip(".")  # as DuckDB prints it
                keys = [f"{row[0]}|{row[1]}", f"{row[0]}{row[1]}", *(str(other[scd_id]) for other in rows)]
                assert row[scd_id] in {md5(f"{key}|{at}".encode()).hexdigest() for key in keys}, name
                row = (*row[:scd_id], "a digest", *row[scd_id + 1 :])
            shown.append(repr([builds.get(value, value) if is_clock(value, began) else value for value in row]))
        found[name] = [repr(columns), *sorted(shown)]
    return found


def is_clock(value: object, began: datetime) -> bool:
    """Whether a value is a time of this test's builds."""
    return isinstance(value, datetime) and began <= value < datetime(9999, 1, 1)


def test_the_history_of_rows_that_change_go_and_come(dbt: Path, lake: Lake, tmp_path: Path) -> None:
    project = tmp_path / "kept"
    for folder in ("models", "seeds", "snapshots"):
        (project / folder).mkdir(parents=True)
    (project / "dbt_project.yml").write_text(
        "name: kept\nversion: '1.0'\nprofile: kept\nsnapshots: {kept: {by_folder: {+strategy: check}}}\n"
    )
    (project / "models/latest.sql").write_text(
        "select * exclude (dbt_scd_id) from {{ ref('at_new_record') }} where dbt_valid_to is null"
    )
    (project / "models/shown.sql").write_text("select *, 'view' as origin from {{ ref('items') }}")
    blocks = [
        f"{{% snapshot {name} %}}\n{{{{ config({config}) }}}}\nselect * from {{{{ ref('items') }}}}\n"
        "{% endsnapshot %}\n"
        for name, config in snapshots().items()
    ]
    (project / "snapshots/many.sql").write_text("{# {% snapshot none %} #}\n" + "".join(blocks))
    (project / "snapshots/by_folder").mkdir()
    (project / "snapshots/by_folder/whole.yml").write_text(
        "snapshots:\n  - {name: whole, relation: ref('shown'), config: {unique_key: [id, part], check_cols: [id]}}\n"
        "  - name: whole_at\n    relation: ref('items')\n    columns: [{name: id, data_tests: [not_null]}]\n"
        "    config: {strategy: timestamp, unique_key: [id, part], updated_at: changed_at, hard_deletes: invalidate}\n"
    )
    database = profile(project, "kept")
    began = datetime.now()  # in the session's zone and without one, as dbt's times are
    for items in (*ITEMS, ITEMS[-1]):
        (project / "seeds/items.csv").write_text(items)
        run_dbt(dbt, project, "build", "--full-refresh")
        results = building.build(lake, project, options=Options(full_refresh=True))
        assert not [result for result in results if result.failed]
        with duckdb.connect(str(database), read_only=True) as connection:
            theirs = versions(connection, "dbt", began)
        ours = versions(lake.cursor(), "lake", began)
        assert ours.keys() == theirs.keys()
        for name, rows in theirs.items():
            assert ours[name] == rows, name
    assert {"main_kept.elsewhere", "main_named.named", "main.whole", "main.latest"} <= theirs.keys()


#: Models with a contract: settings, query, columns and constraints as schema.yml has them.
CONTRACTS = {
    "kept": ("table", "select 1 as id, 'x' as name", "[{name: id, data_type: int}, {name: name, data_type: text}]"),
    "reordered": ("table", "select 'x' as b, 1 as a", "[{name: a, data_type: integer}, {name: b, data_type: varchar}]"),
    "kept_view": ("view", "select 'x' as b, 1 as a", "[{name: a, data_type: integer}, {name: b, data_type: varchar}]"),
    "nested": (
        "table",
        "select {'x': 1, 'y': [2]} as s, 1.50::decimal(5, 2) as d",
        "[{name: s, data_type: 'struct(x int, y int[])'}, {name: d, data_type: 'decimal(5,2)'}]",
    ),
    "summed": ("table", "select sum(1) as n", "[{name: n, data_type: hugeint}]"),
    "other_type": ("table", "select 1 as a", "[{name: a, data_type: bigint}]"),
    "other_scale": ("table", "select 1.5::decimal(5, 2) as a", "[{name: a, data_type: 'decimal(6, 2)'}]"),
    "other_type_view": ("view", "select 1 as a", "[{name: a, data_type: bigint}]"),
    "one_too_many": ("table", "select 1 as a, 2 as b", "[{name: a, data_type: int}]"),
    "one_too_few": ("view", "select 1 as a", "[{name: a, data_type: int}, {name: b, data_type: int}]"),
    "other_letters": ("table", "select 1 as A", "[{name: a, data_type: int}]"),
    "no_type": ("table", "select 1 as a", "[{name: a, data_type: nothing_of_the_kind}]"),
    "has_null": (
        "table",
        "select null::int as a",
        "[{name: a, data_type: int, constraints: [{type: not_null}]}]",
    ),
    "has_null_view": (
        "view",
        "select null::int as a",
        "[{name: a, data_type: int, constraints: [{type: not_null}]}]",
    ),
    "checked": (
        "table",
        "select unnest([1, null]) as a",
        "[{name: a, data_type: int, constraints: [{type: check, expression: a > 0}]}]",
    ),
    "checked_amiss": (
        "table",
        "select unnest([1, -1]) as a",
        "[{name: a, data_type: int, constraints: [{type: check, expression: a > 0}]}]",
    ),
    "check_of_two": (
        "table",
        "select 1 as a, 2 as b",
        "[{name: a, data_type: int}, {name: b, data_type: int}]\n"
        "    constraints: [{type: check, columns: [a, b], expression: a >= b}]",
    ),
    "unique_nulls": (
        "table",
        "select unnest([1, null, null]) as a",
        "[{name: a, data_type: int, constraints: [{type: unique}]}]",
    ),
    "not_unique": (
        "table",
        "select unnest([1, 1]) as a",
        "[{name: a, data_type: int, constraints: [{type: unique}]}]",
    ),
    "key_of_two": (
        "table",
        "select unnest([1, 1]) as a, unnest([1, 2]) as b",
        "[{name: a, data_type: int}, {name: b, data_type: int}]\n"
        "    constraints: [{type: primary_key, columns: [a, b]}]",
    ),
    "key_with_null": (
        "table",
        "select unnest([1, 1]) as a, unnest([1, null]) as b",
        "[{name: a, data_type: int}, {name: b, data_type: int}]\n"
        "    constraints: [{type: primary_key, columns: [a, b]}]",
    ),
    "added": (
        "incremental",
        "select {% if is_incremental() %}2{% else %}1{% endif %} as a",
        "[{name: a, data_type: int, constraints: [{type: unique}, {type: not_null}]}]",
    ),
    "added_null": (
        "incremental",
        "select {% if is_incremental() %}null::int{% else %}1{% endif %} as a",
        "[{name: a, data_type: int, constraints: [{type: not_null}]}]",
    ),
    "added_twice": ("incremental", "select 1 as a", "[{name: a, data_type: int, constraints: [{type: unique}]}]"),
}


def test_contracts_are_kept_and_broken_alike(dbt: Path, lake: Lake, tmp_path: Path) -> None:
    project = tmp_path / "promised"
    (project / "models").mkdir(parents=True)
    (project / "dbt_project.yml").write_text(
        "name: promised\nversion: '1.0'\nprofile: promised\n"
        "models: {promised: {+contract: {enforced: true}, +on_schema_change: fail}}\n"
    )
    described = ["models:"]
    for name, (kind, query, columns) in CONTRACTS.items():
        (project / f"models/{name}.sql").write_text(f"{{{{ config(materialized='{kind}') }}}}\n{query}\n")
        described.append(f"  - name: {name}\n    columns: {columns}")
    (project / "models/schema.yml").write_text("\n".join(described) + "\n")
    database = profile(project, "promised")
    for build in ("first", "second"):
        subprocess.run(
            [dbt, "build", "--profiles-dir", "."], cwd=project, env=os.environ | QUIET, capture_output=True, timeout=300
        )
        run = json.loads((project / "target/run_results.json").read_text())
        theirs = {each["unique_id"].split(".")[-1]: each["status"] == "error" for each in run["results"]}
        if build == "second":  # where nothing changed, a table is not added to
            for name in theirs:
                (project / f"models/{name}.sql").write_text(
                    (project / f"models/{name}.sql").read_text() + " where true"
                )
        ours = {result.name: result.failed for result in building.build(lake, project)}
        assert ours == theirs, build
    assert theirs["added_null"] and theirs["added_twice"] and not theirs["added"] and not theirs["kept"]
    with duckdb.connect(str(database), read_only=True) as connection:
        assert relations(lake.cursor(), "lake") == relations(connection, "dbt")


SOURCES = """
sources:
  - name: raw
    schema: main
    config:
      freshness: {warn_after: {count: 12, period: hour}, error_after: {count: 2, period: day}}
      loaded_at_field: came
    tables:
      - {name: new, identifier: events, config: {freshness: {filter: "kind = 'new'"}}}
      - {name: old, identifier: events, config: {freshness: {filter: "kind = 'old'"}}}
      - {name: ancient, identifier: events, config: {freshness: {filter: "kind = 'ancient'"}}}
      - {name: none_such, identifier: events, config: {freshness: {filter: "kind = 'none'"}}}
      - {name: not_asked, identifier: events, config: {freshness: null}}
      - name: only_warns
        identifier: events
        config: {freshness: {error_after: null, filter: "kind = 'ancient'"}}
      - name: asked
        identifier: events
        config: {loaded_at_query: "select min(came) from {{ this }}"}
      - name: patient
        identifier: events
        config:
          freshness:
            warn_after: {count: 30, period: day}
            error_after: {count: 60, period: day}
            filter: kind = 'ancient'
      - {name: wrong, identifier: events, config: {loaded_at_field: no_column}}
"""


def test_sources_are_as_fresh(dbt: Path, lake: Lake, tmp_path: Path) -> None:
    project = tmp_path / "fresh"
    (project / "models").mkdir(parents=True)
    (project / "dbt_project.yml").write_text("name: fresh\nversion: '1.0'\nprofile: fresh\n")
    (project / "models/sources.yml").write_text(SOURCES)
    rows = (
        "create table {}main.events as select * from (values (now() - interval 1 hour, 'new'),"
        " (now() - interval 1 day, 'old'), (now() - interval 9 day, 'ancient')) as t(came, kind)"
    )
    with duckdb.connect(str(profile(project, "fresh"))) as connection:
        connection.execute(rows.format(""))
    with lake.commit("rows") as commit:
        commit.sql(rows.format("lake."))
    command = [dbt, "source", "freshness", "--profiles-dir", "."]
    subprocess.run(command, cwd=project, env=os.environ | QUIET, capture_output=True, timeout=300)
    told = json.loads((project / "target/sources.json").read_text())["results"]
    theirs = {each["unique_id"].removeprefix("source.fresh."): each["status"] for each in told}
    ours = {each.source: each.status for each in freshness.check(open_project(lake, project))}
    assert ours.pop("raw.wrong") == "runtime error", "dbt prints it and leaves it out of its file"
    assert ours == theirs
    assert set(ours.values()) == {"pass", "warn", "error"} and len(ours) == 7


def cuvee(folder: Path, *arguments: str) -> None:
    code = "from warehouse.cli import main; main()"
    environment = {name: value for name, value in os.environ.items() if name != "CUVEE_LAKE"} | {
        "PYTHONPATH": str(ROOT)
    }
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.timeout(300)
def test_dbt_builds_the_pure_sql_part_of_our_own_project(
    dbt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "sql", tmp_path / "sql", ignore=shutil.ignore_patterns("target", "logs"))
    run_dbt(dbt, tmp_path / "sql", "--warn-error", "parse")

    small = "{baseline_tokens: 40000, anneal_tokens: 15000}"
    cuvee(tmp_path, "init")
    cuvee(tmp_path, "ingest", "--environment", "--limit-bytes", "600KB")
    cuvee(tmp_path, "build", "--select", "+train_documents")
    cuvee(tmp_path, "tokenizer", "train", "demo", "--from", "train_documents", "--vocab-size", "1024")
    cuvee(tmp_path, "build", "--vars", small)
    lake = Lake.open(tmp_path / "lake")
    ours = relations(lake.cursor(), "lake")
    before = lake.snapshot()

    monkeypatch.setenv("CUVEE_LAKE", str(lake.root))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # where `pip install cuvee` would have put the plugin
    functions = ["document_labels", "document_tokens", "document_contamination", "benchmark_ngrams"]
    run_dbt(dbt, tmp_path / "sql", "build", "--exclude", *functions, "--vars", small)
    theirs = relations(lake.cursor(), "lake")
    assert lake.snapshot() > before
    assert {"main.baseline", "main.upsampled_report", "main.taxonomy", "main.train_documents"} <= theirs.keys()
    assert ours.keys() == theirs.keys()
    for each, rows in ours.items():
        assert theirs[each] == rows, each
