"""Rendering, by pairs of a template and the SQL that it gives, in tests/fixtures/render."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.warehouse.helpers import sql_cases
from warehouse.project import project_files
from warehouse.render.renderer import Renderer


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


@pytest.mark.parametrize(("given", "expected"), sql_cases("render"))
def test_render(renderer: Renderer, given: str, expected: str) -> None:
    node = replace(renderer.project.nodes["model.p.m"], id=given, text=given)  # what is rendered is kept by id
    assert renderer.render(node).sql == expected
