"""Rendering, rewriting and selection, by pairs of input and expected output in tests/fixtures."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pyarrow as pa
import pytest

from tests.warehouse.test_operators import step
from warehouse import project, rewrite
from warehouse.calls import CallError
from warehouse.lake import Lake
from warehouse.opened import Opened, open_project
from warehouse.render import Renderer
from warehouse.selection import select

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


def cases(folder: str) -> Iterator[object]:
    for path in sorted((FIXTURES / folder).glob("*.sql")):
        for block in re.split(r"\n\s*\n", path.read_text().strip()):
            if "\n---\n" not in block:
                continue
            title, _, rest = block.partition("\n")
            given, _, expected = rest.partition("\n---\n")
            yield pytest.param(given, expected.strip(), id=title.removeprefix("-- "))


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    root = tmp_path_factory.mktemp("render")
    (root / "models").mkdir()
    (root / "macros").mkdir()
    (root / "dbt_project.yml").write_text("name: p\nvars: {low: 3}\n")
    (root / "models/stg.sql").write_text("select 1")
    (root / "models/m.sql").write_text("select 1")
    (root / "models/log.sql").write_text("{{ config(materialized='incremental', schema='x') }} select 1")
    (root / "models/s.yml").write_text("sources: [{name: raw, tables: [{name: documents}]}]")
    (root / "macros/m.sql").write_text(
        "{% macro twice(x) %}({{ x }} + {{ x }}){% endmacro %}\n"
        "{% macro pick(xs) %}{% for x in xs %}{{ return(x) }}{% endfor %}{% endmacro %}\n"
        "{% macro wrapped() %}({{ caller() }}){% endmacro %}\n"
    )
    return Renderer(project.load(root))


@pytest.mark.parametrize(("given", "expected"), cases("render"))
def test_render(renderer: Renderer, given: str, expected: str) -> None:
    from dataclasses import replace

    node = replace(renderer.project.nodes["model.p.m"], text=given)
    assert renderer._render(node, execute=False, incremental=False).sql == expected


class Function:
    def __init__(self, name: str) -> None:
        self.name = name

    def bind(self, options: tuple[object, ...]) -> SimpleNamespace:
        pair = pa.struct([("primary", pa.string()), ("secondary", pa.string())])
        wide = self.name == "label"
        columns = pa.schema([("a", pair), ("b", pa.string())] if wide else [("n", pa.int64())])
        store = "labels.x" if wide else "counts.n"
        return SimpleNamespace(
            store=store, labeler=self.name, fingerprint=self.name, columns=columns, result=None if wide else "n"
        )


@pytest.mark.parametrize(("given", "expected"), cases("rewrite"))
def test_rewrite(given: str, expected: str) -> None:
    with duckdb.connect() as connection:
        connection.execute("create schema raw; create table o (id int, t varchar); create table p (id int, u varchar)")
        connection.execute("create table raw.documents (doc_id varchar, text varchar, n_chars bigint, first varchar)")
        functions = {name: Function(name) for name in ("n_tokens", "label")}
        try:
            done = rewrite.rewrite(step(given), functions, connection)  # type: ignore[arg-type]
            lines = [*(f"inputs: {stage.keys}" for stage in done.stages), done.sql]
            connection.execute(f"describe {done.sql}")
        except CallError as error:
            lines = [f"refused: {error.message.partition(' ')[2]}"]
    assert "\n".join(lines).lower() == expected.lower()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    root = tmp_path_factory.mktemp("selection")
    shutil.copytree(FIXTURES / "projects/shop", root / "shop")
    return open_project(Lake.create(root / "lake"), root / "shop")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(*map(str.strip, line.split("=>")), id=line.split("=>")[0].strip())
        for line in (FIXTURES / "selection/shop.txt").read_text().splitlines()
        if "=>" in line and not line.startswith("#")
    ],
)
def test_select(opened: Opened, given: str, expected: str) -> None:
    chosen, _, excluded = given.partition("--exclude")
    found = select(opened.graph, chosen.split(), excluded.split())
    steps = [opened.graph.steps[key] for key in found]
    assert " ".join(sorted(each.name for each in steps if each.kind != "test")) == expected
