"""What a project promises, judged by dbt and by Cuvée: contracts of models, freshness of sources."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb

from tests.conformance.peer import profile, relations, run_dbt
from warehouse.build import build as building
from warehouse.build import freshness
from warehouse.graph.loaded_project import open_project
from warehouse.lake.lake import Lake

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
        run_dbt(dbt, project, "build", code=1)
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
    run_dbt(dbt, project, "source", "freshness", code=1)
    told = json.loads((project / "target/sources.json").read_text())["results"]
    theirs = {each["unique_id"].removeprefix("source.fresh."): each["status"] for each in told}
    ours = {each.source: each.status for each in freshness.check(open_project(lake, project))}
    assert ours.pop("raw.wrong") == "runtime error", "dbt prints it and leaves it out of its file"
    assert ours == theirs
    assert set(ours.values()) == {"pass", "warn", "error"} and len(ours) == 7
