"""The ready mixtures: none of them in the way of a build that did not ask, all of them exact where it did."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import SQL, write
from warehouse.lake.lake import Lake

SEEDS = SQL / "seeds" / "mixes"
PUBLISHED = SQL / "models" / "mixtures" / "published"
PRESETS = sorted(file.stem for file in PUBLISHED.glob("*.sql") if file.stem != "mixture_components")
#: A pool of real texts; n_tokens is a count of words. `nth` deals the documents out to components.
POOL = """
select doc_id, n_tokens, domain, row_number() over (order by doc_id) as nth
from (
    select d.doc_id, max(len(regexp_split_to_array(d.text, '\\s+'))) as n_tokens, max(o.source) as domain
    from {{ source('raw', 'documents') }} as d
    join {{ source('raw', 'occurrences') }} as o on o.doc_id = d.doc_id
    group by d.doc_id
)
"""


def cuvee(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "CUVEE_LAKE"}
    done = subprocess.run(
        [Path(sys.executable).parent / "cuvee", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def mixes() -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for file in SEEDS.glob("*.csv"):
        for row in csv.DictReader(file.open(encoding="utf-8")):
            if row["share_percent"]:
                found.setdefault(row["mix"], {})[row["component"]] = float(row["share_percent"])
    return found


def mix_of(preset: str) -> str:
    """The mix that a preset's model names."""
    text = (PUBLISHED / f"{preset}.sql").read_text()
    return next((mix for mix in mixes() if f"'{mix}'" in text), "blakeney_baseline_1T")


@pytest.fixture(scope="module")
def project(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    files = {
        "dbt_project.yml": "name: p\nmodels: {+materialized: table, cuvee: {}}",
        "models/pool.sql": POOL,
        "models/candidates.sql": "select doc_id from {{ ref('pool') }} where domain = 'literature_chapters'",
    }
    write(folder, files)
    cuvee(folder, "init")
    for name in ("domain_docs", "literature_chapters"):
        file = next((shared_data / "domains").glob(f"{name}*"))
        cuvee(folder, "ingest", str(file), "--source", name)
    return folder


def build(project: Path, select: str, **variables: Any) -> dict[str, list[tuple[Any, ...]]]:
    """Build presets and give the rows of each."""
    values = {"published_mixtures": True, "published_pool": "pool", "published_candidate": "candidates", **variables}
    cuvee(project, "build", "--select", *select.split(), "--vars", json.dumps(values))
    cursor = Lake.open(project / "lake").cursor()
    built = {row[0] for row in cursor.execute("select table_name from duckdb_tables()").fetchall()}
    columns = "doc_id, component, copies, n_tokens"
    return {
        preset: cursor.execute(f"select {columns} from main.{preset} order by all").fetchall()
        for preset in PRESETS
        if preset in built
    }


def spread(names: list[str]) -> dict[str, str]:
    """Every component gets as many documents as the others, each document one."""
    return {
        name: f"domain = 'domain_docs' and nth % {len(names)} = {number}"
        for number, name in enumerate(names)
    }  # fmt: skip


#: Presets that are built together, by what their mixes' names begin with: components share out the documents.
GROUPS = (("blakeney",), ("olmo2", "essential_web", "prolong", "smollm2"), ("ettin", "mmbert"), ("smollm3",))


@pytest.mark.parametrize("group", GROUPS, ids=["-".join(group) for group in GROUPS])
def test_presets_have_their_shares_over_real_documents(project: Path, group: tuple[str, ...]) -> None:
    published = mixes()
    wanted = {preset: mix_of(preset) for preset in PRESETS if mix_of(preset).startswith(group)}
    names = sorted({name for mix in wanted.values() for name in published[mix] if name != "candidate"})
    rows = build(project, " ".join(f"+{preset}" for preset in wanted), published_components=spread(names))
    for preset, mix in wanted.items():
        _check(preset, rows[preset], published[mix])


def test_there_are_presets_for_all_published_mixes() -> None:
    assert len(PRESETS) == 21
    assert {mix for mix in mixes() if mix.startswith(sum(GROUPS, ()))} >= {mix_of(preset) for preset in PRESETS}


def _check(preset: str, rows: list[tuple[Any, ...]], shares: dict[str, float]) -> None:
    asked = {name: share for name, share in shares.items() if share}
    whole = sum(asked.values())
    asked = {name: share / whole for name, share in asked.items()}
    if preset.startswith("anneal_probe"):
        candidate = {"anneal_probe_30": 0.3, "anneal_probe_50": 0.5, "anneal_probe_control": 0}[preset]
        asked = {name: share * (1 - candidate) for name, share in asked.items()}
        asked |= {"candidate": candidate} if candidate else {}
    tokens = {name: sum(row[2] * row[3] for row in rows if row[1] == name) for name in asked}
    total = sum(tokens.values())
    longest = max(row[3] for row in rows)
    assert rows
    assert {row[1] for row in rows} <= asked.keys()
    for name, share in asked.items():
        assert tokens[name] == pytest.approx(share * total, abs=longest * len(asked)), (preset, name)
    copies: dict[str, int] = {}
    for row in rows:
        assert row[0] not in copies, "a document is in one component only"
        copies[row[0]] = row[2]
    assert max(copies.values()) <= 4


def test_windows_are_parts_of_the_budget_and_of_each_other(project: Path) -> None:
    shares = mixes()["blakeney_baseline_1T"]
    windows = [f"domain_upsampling_{number:02d}" for number in (5, 10, 20, 30)]
    rows = build(
        project, " ".join(f"+{each}" for each in windows), published_components=spread(list(shares)),
        training_budget=900_000,
    )  # fmt: skip
    last: set[tuple[str, int]] = set()
    for window, part in zip(windows, (0.05, 0.1, 0.2, 0.3), strict=True):
        tokens = sum(row[2] * row[3] for row in rows[window])
        assert tokens == pytest.approx(900_000 * part, rel=0.12), window
        seen = {(row[0], copy) for row in rows[window] for copy in range(row[2])}
        assert last < seen
        last = seen
        assert "Large-Scale CC" not in {row[1] for row in rows[window]}


def test_kinds_may_be_mapped_in_place_of_components(project: Path) -> None:
    with (SEEDS / "mix_ettin_decay.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["mix"] == "ettin_decay_renormalised_76.3B"]
    assert len(rows) == 9
    kinds: dict[str, float] = {}
    for row in rows:
        kinds[row["kind"]] = kinds.get(row["kind"], 0) + float(row["share_percent"])
    found = build(
        project, "+ettin_decay", published_components=spread(list(kinds)), published_by="kind", published_tokens=40_000
    )["ettin_decay"]
    _check("ettin_decay", found, kinds)
    assert "books" in {row[1] for row in found}


def test_a_build_that_did_not_ask_has_none_of_them(project: Path) -> None:
    listed = set(cuvee(project, "ls", "--quiet").split())
    assert not {name for name in listed if name.split(".")[-1] in PRESETS or "mix_" in name}
    asked = cuvee(
        project, "ls", "--quiet", "--select", "tag:mixture", "--vars",
        "{published_mixtures: true, published_components: {Code: 'true'}}",
    )  # fmt: skip
    assert {name for name in PRESETS if name in asked} == set(PRESETS)


def test_what_is_not_mapped_is_named(project: Path) -> None:
    values = {"published_mixtures": True, "published_pool": "pool", "published_components": {"Code": "nth % 2 = 0"}}
    done = subprocess.run(
        [Path(sys.executable).parent / "cuvee", "build", "--select", "+domain_upsampling_baseline", "--vars",
         json.dumps(values)],
        cwd=project, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    message = "there are none of Domain Specific, Large-Scale CC, Small-Scale CC"
    assert message in " ".join((done.stdout + done.stderr).split())
