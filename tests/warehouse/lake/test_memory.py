"""How much memory DuckDB may use, and what profiles.yml says about it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers import write
from udfs.errors import UsageError
from warehouse.graph.loaded_project import open_project
from warehouse.ingest.commit import bounded_memory
from warehouse.lake.lake import Lake
from warehouse.lake.memory import memory_limit

GB = 1 << 30
MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
PAGE = os.sysconf("SC_PAGE_SIZE")


def setting(lake: Lake, name: str) -> str:
    row = lake.cursor().execute("select current_setting(?)", [name]).fetchone()
    assert row is not None
    return str(row[0])


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, MACHINE // 2),
        ({"proc/self/statm": f"9 {GB // PAGE} 3"}, MACHINE // 2 - GB),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": f"{2 * GB}\n"}, GB),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, MACHINE // 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{2 * GB}\n"}, GB),
        ({"proc/self/cgroup": "0::/host/only\n", "sys/fs/cgroup/memory.max": f"{2 * GB}\n"}, GB),
        (
            {
                "proc/self/cgroup": "3:cpu:/x\n2:memory:/job\n",
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": f"{2 * GB}\n",
            },
            GB,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1000\n"}, 256 << 20),
    ],
)
def test_half_of_what_the_process_may_use(files: dict[str, str], limit: int, tmp_path: Path) -> None:
    assert memory_limit(write(tmp_path, files)) == limit


def test_a_lake_uses_it_and_an_ingest_gives_it_back(lake: Lake) -> None:
    before = setting(lake, "memory_limit")
    number, unit = before.split()
    assert float(number) * 1024 ** ["KiB", "MiB", "GiB", "TiB"].index(unit) * 1024 <= MACHINE / 2
    with bounded_memory(lake):
        assert setting(lake, "memory_limit") == "286.1 MiB"
    assert setting(lake, "memory_limit") == before


def profile(folder: Path, settings: str) -> Path:
    target = f"p: {{target: dev, outputs: {{dev: {{type: duckdb, schema: mine, threads: 3, settings: {settings}}}}}}}"
    return write(
        folder, {"dbt_project.yml": "name: p\nprofile: p\n", "profiles.yml": target, "models/a.sql": "select 1"}
    )


def test_settings_of_the_target_are_duckdbs(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMIT", "3GiB")
    given = "{memory_limit: \"{{ env_var('LIMIT') }}\", threads: 1, TimeZone: Europe/Berlin}"
    opened = open_project(lake, profile(tmp_path / "p", given))
    assert opened.renderer.target.threads == 3
    for cursor in (opened.database.cursor, lake.cursor()):
        query = "select value from duckdb_settings() where name in (select unnest(?)) order by name"
        names = ["memory_limit", "threads", "TimeZone"]
        found = [value for (value,) in cursor.execute(query, [names]).fetchall()]
        assert sorted(found) == ["1", "3.0 GiB", "Europe/Berlin"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{memory_limt: 3GB}", "settings: memory_limt"),
        ("{threads: many}", "settings: threads"),
        ("[threads]", "not a mapping"),
    ],
)
def test_a_wrong_setting_is_named(lake: Lake, tmp_path: Path, settings: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_project(lake, profile(tmp_path / "p", settings))
