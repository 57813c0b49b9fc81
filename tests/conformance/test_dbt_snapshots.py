"""Snapshots by dbt and by Cuvée: the same versions of the same rows, build after build."""

from __future__ import annotations

from datetime import datetime
from hashlib import md5
from pathlib import Path

import duckdb

from tests.conformance.peer import profile, relations, run_dbt
from warehouse.build import build as building
from warehouse.build.build_options import BuildOptions
from warehouse.lake.lake import Lake

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
        results = building.build(lake, project, options=BuildOptions(full_refresh=True))
        assert not [result for result in results if result.failed]
        with duckdb.connect(str(database), read_only=True) as connection:
            theirs = versions(connection, "dbt", began)
        ours = versions(lake.cursor(), "lake", began)
        assert ours.keys() == theirs.keys()
        for name, rows in theirs.items():
            assert ours[name] == rows, name
    assert {"main_kept.elsewhere", "main_named.named", "main.whole", "main.latest"} <= theirs.keys()
