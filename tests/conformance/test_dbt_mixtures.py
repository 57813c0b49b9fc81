"""Mixtures, built by dbt with dbt-duckdb and by Cuvée: the same rows."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.peer import built_by_both, write
from tests.helpers import install_package, macros_only
from warehouse.lake.lake import Lake

POOL = """
select md5(n::varchar) as doc_id, n, 1 + n * 7919 % 997 as n_tokens,
    case n % 10 when 0 then 'maths' when 1 then 'prose' when 2 then 'prose' else 'code' end as component
from range(20000) t(n)
"""
LONG = """
select doc_id, component, n_tokens, 1 as position from {{ ref('pool') }}
union all select doc_id, 'prose', n_tokens, 0 from {{ ref('pool') }} where n % 3 = 0
"""
CLUSTERS = "select doc_id, min(doc_id) over (partition by n // 4) as cluster_id from {{ ref('pool') }} where n < 9000"
SHARES = "shares={'maths': 34.35, 'prose': 7.17, 'code': 58.48}"
CONDITIONS = "components={'maths': 'n % 4 = 0', 'prose': ref('prose'), 'code': 'true'}"
MIXTURES = {
    "plain": f"{{{{ cuvee.mixture(ref('pool'), {SHARES}, tokens=2000000, max_epochs=4) }}}}",
    "spilled": f"{{{{ cuvee.mixture(ref('pool'), {SHARES}, tokens=12000000, max_epochs=2, shortfall='spill') }}}}",
    "everything": f"{{{{ cuvee.mixture(ref('long'), {SHARES}, tokens='all', overlap='first') }}}}",
    "windowed": f"{{{{ cuvee.mixture(ref('pool'), {SHARES}, budget='9000000', window=0.3, {CONDITIONS}) }}}}",
    "several": f"{{{{ cuvee.mixture(ref('pool'), {SHARES}, tokens=2000000, max_epochs=2, overlap='all',"
    f" {CONDITIONS}) }}}}",
    "ablated": f"{{{{ cuvee.mixture(ref('long'), {SHARES}, tokens=900000, leave_out='maths', freed='code') }}}}",
    "held_back": "{{ cuvee.with_split(ref('pool'), share={'code': 0.1, 'prose': 0.02}) }}",
    "after_held_back": "{{ cuvee.mixture('(select * from ' ~ ref('held_back') ~ \" where split = 'train')\", "
    f"{SHARES}, tokens=900000, max_epochs=2) }}}}",
    "report": f"{{{{ cuvee.mixture_report(ref('plain'), ref('pool'), {SHARES}, tokens=2000000, max_epochs=4) }}}}",
}


def test_both_give_the_same_documents_and_copies(dbt: Path, lake: Lake, tmp_path: Path) -> None:
    project = write(
        tmp_path / "mixed",
        {
            "dbt_project.yml": macros_only("mixed"),
            "models/pool.sql": POOL,
            "models/long.sql": LONG,
            "models/duplicate_clusters.sql": CLUSTERS,
            "models/prose.sql": "select doc_id from {{ ref('pool') }} where n % 6 = 1",
            **{f"models/{name}.sql": text for name, text in MIXTURES.items()},
        },
    )
    install_package(project)
    built = built_by_both(dbt, project, "mixed", lake)
    assert {f"main.{name}" for name in MIXTURES} <= set(built)
    for name in MIXTURES.keys() - {"report", "held_back"}:
        row = lake.cursor().execute(f"select count(*), max(copies) from main.{name}").fetchone()
        assert row and row[0] > 50, name
