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
from warehouse.answers import rewrite
from warehouse.answers.calls import CallError
from warehouse.build.build import build
from warehouse.graph.loaded_project import Opened, open_project
from warehouse.lake.lake import Lake
from warehouse.project import project_files
from warehouse.project.outcome import Options
from warehouse.render.renderer import Renderer

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
    return Renderer(project_files.load(root))


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


def selections(file: str) -> list[object]:
    lines = (FIXTURES / "selection" / file).read_text().splitlines()
    pairs = [line.split("=>") for line in lines if "=>" in line and not line.startswith("#")]
    return [pytest.param(given.strip(), expected.strip(), id=given.strip()) for given, expected in pairs]


def selected(opened: Opened, given: str) -> str:
    chosen, _, excluded = given.partition("--exclude")
    steps = [opened.graph.steps[key] for key in opened.select(chosen.split(), excluded.split())]
    return " ".join(sorted(each.name for each in steps if each.kind != "test"))


@pytest.mark.parametrize(("given", "expected"), selections("shop.txt"))
def test_select(opened: Opened, given: str, expected: str) -> None:
    assert selected(opened, given) == expected


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """The shop as tests/fixtures/selection/state.txt says, beside the state before."""
    root = tmp_path_factory.mktemp("state") / "shop"
    shutil.copytree(FIXTURES / "projects/shop", root)
    lake = Lake.create(root.parent / "lake")
    seed = root / "seeds/raw_orders.csv"
    seed.write_text(seed.read_text() + "3;1;5;2024-03-01\n")
    build(lake, root)
    for name, before, after in (
        ("models/marts/customers.sql", "coalesce(o.orders, 0)", "o.orders"),
        ("models/marts/order_log.sql", "unique_key='order_id'", "unique_key=['order_id']"),
        ("macros/money.sql", "{{ by }})", "{{ by }} * 1)"),
        ("seeds/raw_customers.csv", "Ada", "Ada L."),
    ):
        assert before in (root / name).read_text()
        (root / name).write_text((root / name).read_text().replace(before, after))
    (root / "models/fresh.sql").write_text("select 1 as x")
    return open_project(lake, root, Options(state=root / "target"))


@pytest.mark.parametrize(("given", "expected"), selections("state.txt"))
def test_select_beside_an_older_state(edited: Opened, given: str, expected: str) -> None:
    assert selected(edited, given) == expected
