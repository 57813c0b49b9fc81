"""Microbatch models, built by dbt with dbt-duckdb and by Cuvée: the same rows in every batch, build after build."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from tests.conformance.peer import relations, run_dbt, write
from warehouse.build import build as building
from warehouse.build.build_options import BuildOptions
from warehouse.lake.lake import Lake

MODEL = """{{{{ config(materialized='incremental', incremental_strategy='microbatch', event_time='seen',
    batch_size='{size}', begin='{begin}', lookback={lookback}) }}}}
select s.id, s.seen, k.label, '{{{{ model.batch.id if model.batch else '' }}}}' as batch
from {{{{ ref('stg') }}}} as s left join {{{{ ref('kinds') }}}} as k using (kind)
"""
CONFIG = "config: {event_time: seen, column_types: {seen: timestamp, kind: varchar}}"


def test_batches_hold_the_same_rows(dbt: Path, lake: Lake, tmp_path: Path) -> None:
    today = datetime.now(UTC).replace(tzinfo=None, microsecond=0)

    def ago(days: float) -> str:
        return str(today - timedelta(days=days))

    sizes = {"hour": ago(0.1), "day": ago(5)[:10], "month": ago(90)[:10], "year": ago(800)[:10]}
    old = f"id,seen,kind\n1,{ago(4)},a\n2,{ago(1.2)},b\n3,{ago(0.02)},b\n4,{ago(60)},b\n5,{ago(5000)},\n"
    project = write(
        tmp_path / "batched",
        {
            "dbt_project.yml": "name: batched\nversion: '1.0'\nprofile: batched\n",
            "seeds/events.csv": f"{old}6,,a\n7,2090-01-01,c\n",
            "seeds/kinds.csv": "kind,label\na,A\nb,B\n",
            "seeds/schema.yml": f"seeds: [{{name: events, {CONFIG}}}]\n",
            "models/schema.yml": "models: [{name: stg, config: {event_time: seen}}]\n",
            "models/stg.sql": "select * from {{ ref('events') }}",
            "models/all_of_it.sql": MODEL.format(size="month", begin=ago(90)[:10], lookback=1).replace(
                "ref('stg')", "ref('stg').render()"
            ),
            **{
                f"models/by_{size}.sql": MODEL.format(size=size, begin=begin, lookback=2)
                for size, begin in sizes.items()
            },
        },
    )

    def same(*flags: str, **options: Any) -> dict[str, tuple[list[str], list[str]]]:
        run_dbt(dbt, project, "build", *flags)
        assert not [
            result for result in building.build(lake, project, options=BuildOptions(**options)) if result.failed
        ]
        with duckdb.connect(str(project / "dbt.duckdb"), read_only=True) as connection:
            theirs = {name: rows for name, rows in relations(connection, "dbt").items() if "__dbt" not in name}
        ours = relations(lake.cursor(), "lake")
        assert ours.keys() == theirs.keys()
        for name, rows in theirs.items():
            assert ours[name] == rows, name
        return theirs

    found = same()
    assert [len(found[f"main.by_{size}"][1]) for size in sizes] == [1, 3, 4, 4]
    assert len(found["main.all_of_it"][1]) == 7, "as in dbt, the first batch keeps what no other one takes"

    # 1 is older than what the last batches of a day look back at; 2 and 3 change, 8 comes, 4 goes.
    (project / "seeds/events.csv").write_text(
        f"id,seen,kind\n1,{ago(4)},changed\n2,{ago(1.2)},a\n3,{ago(0.02)},a\n8,{ago(0.01)},a\n5,{ago(5000)},\n"
    )
    found = same()
    assert any("'A'" in row and row.startswith("(1,") for row in found["main.by_day"][1]), "left alone"

    start, end = ago(5)[:10], ago(3)[:10]
    times = ("--event-time-start", start, "--event-time-end", end)
    found = same(*times, event_time_start=start, event_time_end=end)
    assert not any("'A'" in row and row.startswith("(1,") for row in found["main.by_day"][1]), "asked for"
