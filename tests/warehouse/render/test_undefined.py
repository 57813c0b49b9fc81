"""What an undefined name or member does, as in dbt, and where it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import write
from udfs.errors import CuveeError
from warehouse.project import project_files
from warehouse.project.options import Options
from warehouse.project.project import ProjectErrors
from warehouse.render.renderer import Renderer

PROJECT = "name: shop\nversion: '1'\nprofile: shop\n"


def render(
    folder: Path, sql: str, *, strict: bool = False, macros: dict[str, str] | None = None
) -> tuple[str, list[str]]:
    """The SQL of a model, and what was said. Raises what rendering it raised."""
    write(folder, {"dbt_project.yml": PROJECT, "models/m.sql": sql, **(macros or {})})
    said: list[str] = []
    project = project_files.load(folder)
    renderer = Renderer(project, Options(strict=strict), say=said.append)
    rendered = renderer.render(project.nodes["model.shop.m"])
    if rendered.problem:
        raise rendered.problem
    return rendered.sql, said


@pytest.mark.parametrize(
    ("sql", "rendered"),
    [
        ("select 1{{ nowhere }}", "select 1"),
        ("select 1{{ {}.missing }}", "select 1"),
        ("select 1{{ target.missing }}", "select 1"),
        ("select 1{{ {}['missing'] }}", "select 1"),
        ("select 1{% for each in nowhere %}, {{ each }}{% endfor %}", "select 1"),
        ("select {{ nowhere | default(2) }}", "select 2"),
        ("select {{ nowhere == 1 }}, {{ nowhere is defined }}, {{ nowhere | length }}", "select False, False, 0"),
        ("{% if false %}{% set x = 1 %}{% endif %}select 1{{ x }}", "select 1"),
        ("{% macro m(a) %}[{{ a }}]{% endmacro %}select {{ m() }}", "select []"),
        ("select 'a{{ 'b' ~ nowhere }}'", "select 'ab'"),
    ],
)
def test_it_is_nothing(tmp_path: Path, sql: str, rendered: str) -> None:
    assert render(tmp_path, sql)[0] == rendered


@pytest.mark.parametrize(
    "sql",
    [
        "select {{ nowhere() }}",
        "select {{ nowhere.member }}",
        "select {{ nowhere['member'] }}",
        "select {{ nowhere + 1 }}",
        "select {{ {}.missing.deeper }}",
        "select {{ {}.missing() }}",
        "select {{ ''.__class__ }}",
        "{% if false %}{% set x = 1 %}{% endif %}select {{ x.member }}",
    ],
)
def test_its_members_calls_and_sums_are_errors(tmp_path: Path, sql: str) -> None:
    with pytest.raises(CuveeError, match=r"models/m\.sql:1: .*(undefined|no attribute|unsafe)"):
        try:
            render(tmp_path, sql)
        except CuveeError as error:
            raise CuveeError(str(error)) from error


def test_a_template_that_is_rendered_again_for_the_database_may_wait(tmp_path: Path) -> None:
    sql = "{% if execute %}{% set found = run_query('select 1') %}{% endif %}select {{ found.columns[0].values() }} 1"
    assert render(tmp_path, sql) == ("select  1", [])


def test_printing_it_is_told_with_its_place_and_the_nearest_name(tmp_path: Path) -> None:
    (said,) = render(tmp_path, "select 1,\n  {{ targte }}2")[1]
    assert "models/m.sql:2: 'targte' is undefined" in said and "did you mean target" in said
    with pytest.raises(ProjectErrors, match=r"models/m\.sql:2: 'targte' is undefined"):
        render(tmp_path, "select 1,\n  {{ targte }}2", strict=True)


def test_packages_are_not_judged(tmp_path: Path) -> None:
    package = {
        "dbt_packages/handy/dbt_project.yml": "name: handy\nversion: '1'\n",
        "dbt_packages/handy/macros/log.sql": "{% macro log_format(text) %}-- {{ text }}{% endmacro %}",
        "packages.yml": "packages: [{local: dbt_packages/handy}]\n",
    }
    for strict in (False, True):
        assert render(tmp_path, "{{ handy.log_format() }}\nselect 1", strict=strict, macros=package)[1] == []
