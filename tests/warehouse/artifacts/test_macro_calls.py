"""Which macros a template calls, by Jinja's own tree: what ``depends_on.macros`` and ``state:modified`` go by."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import write
from warehouse.artifacts.manifest import _macros_in
from warehouse.project import project_files
from warehouse.render.adapter import LakeColumn
from warehouse.render.renderer import Renderer

FILES = {
    "dbt_project.yml": "name: shop\nversion: '1'\n",
    "macros/all.sql": "{% macro k(a) %}{% endmacro %}{% macro duckdb__d() %}{% endmacro %}",
    "packages.yml": "packages: [{local: dbt_packages/handy}]\n",
    "dbt_packages/handy/dbt_project.yml": "name: handy\nversion: '1'\n",
    "dbt_packages/handy/macros/all.sql": "{% macro k(a) %}{% endmacro %}{% macro default__e() %}{% endmacro %}",
}


@pytest.mark.parametrize(
    ("template", "called"),
    [
        ("{{ k(1) }}", ["shop.k"]),
        ("{{ handy.k(1) }}", ["handy.k"]),
        ("{{ handy . k (1) }}", ["handy.k"]),
        ("{{ '}}' ~ k(1) }}", ["shop.k"]),
        ('{{ "a k(1) b" }}', []),
        ("{# {{ k(1) }} #}", []),
        ("{% raw %}{{ k(1) }}{% endraw %}", []),
        ("{{ thing.k(1) }}", []),
        ("{{ 1 | k(2) }}", []),
        ("select k(1)", []),
        ("{% if false %}{{ k(1) }}{% endif %}", ["shop.k"]),
        ("{% call k(1) %}x{% endcall %}", ["shop.k"]),
        ("{% set f = k %}{{ adapter.dispatch('d')() }}", ["shop.duckdb__d"]),
        ("{{ adapter.dispatch(macro_name='e', macro_namespace='handy')() }}", ["handy.default__e"]),
        ("{{ k(handy.k(1)) }}", ["shop.k", "handy.k"]),
    ],
)
def test_calls_are_calls(tmp_path: Path, template: str, called: list[str]) -> None:
    renderer = Renderer(project_files.load(write(tmp_path, FILES) or tmp_path))
    assert sorted(_macros_in(template, "shop", renderer)) == sorted(f"macro.{each}" for each in called)


def test_members_of_a_struct_keep_their_names() -> None:
    column = LakeColumn(
        "s", 'STRUCT("my field" INTEGER, "a,b" VARCHAR, deep STRUCT("(" DECIMAL(4, 2)), many STRUCT(x INTEGER)[])'
    )
    assert [(each.name, each.dtype) for each in column.fields] == [
        ("my field", "INTEGER"),
        ("a,b", "VARCHAR"),
        ("deep", 'STRUCT("(" DECIMAL(4,2))'),
        ("many", "STRUCT(x INTEGER)[]"),
    ]
    assert [each.name for each in column.flatten()] == ["s.my field", "s.a,b", "s.deep.(", "s.many"]
    assert LakeColumn("n", "INTEGER").fields == []
