"""Settings that are misspelt are errors, with their place; others that nothing reads are counted in a warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import write
from udfs.errors import CuveeError
from warehouse.project.known_settings import near
from warehouse.project.project import Project, ProjectErrors
from warehouse.project.project_files import load

PROJECT = "name: p\nversion: '1'\n"
MODEL = {"models/m.sql": "select 1 as n"}


def loaded(root: Path, files: dict[str, str], **given: object) -> Project:
    return load(write(root, {"dbt_project.yml": PROJECT, **MODEL, **files}), given)


def errors(root: Path, files: dict[str, str], **given: object) -> list[CuveeError]:
    with pytest.raises(ProjectErrors) as caught:
        loaded(root, files, **given)
    return list(caught.value.errors)


@pytest.mark.parametrize(
    ("files", "where", "said", "meant"),
    [
        ({"models/s.yml": "models:\n  - name: m\n    descriptoin: x"}, "models/s.yml:3", "descriptoin", "description"),
        (
            {"models/s.yml": "models:\n  - name: m\n    columns:\n      - {name: n, data-tests: [unique]}"},
            "models/s.yml:4",
            "data-tests",
            "data_tests",
        ),
        (
            {"models/s.yml": "models:\n  - name: m\n    config:\n      unique_keys: n"},
            "models/s.yml:4",
            "unique_keys",
            "unique_key",
        ),
        (
            {"models/s.yml": "models:\n  - name: m\n    data_tests:\n      - unique: {config: {severty: warn}}"},
            "models/s.yml:4",
            "severty",
            "severity",
        ),
        (
            {"models/s.yml": "sources:\n  - name: raw\n    tables:\n      - {name: t, identifer: x}"},
            "models/s.yml:4",
            "identifer",
            "identifier",
        ),
        (
            {"models/s.yml": "sources:\n  - name: raw\n    freshness: {warn_afer: {count: 1, period: day}}"},
            "models/s.yml:3",
            "warn_afer",
            "warn_after",
        ),
        (
            {"models/m.sql": "select\n1 as n\n{{ config(\n  meta={'a': {}},\n  materialised='table') }}"},
            "models/m.sql:5",
            "materialised",
            "materialized",
        ),
        (
            {"dbt_project.yml": f"{PROJECT}models:\n  p:\n    +materialised: table"},
            "dbt_project.yml:5",
            "+materialised",
            "materialized",
        ),
        (
            {"dbt_project.yml": f"{PROJECT}models:\n  p:\n    materialised: table"},
            "dbt_project.yml:5",
            "materialised",
            "materialized",
        ),
        ({"dbt_project.yml": f"{PROJECT}models-paths: [models]"}, "dbt_project.yml:3", "models-paths", "model-paths"),
        (
            {
                "dbt_project.yml": f"{PROJECT}vars:\n  strat_date: 1",
                "models/m.sql": "select {{ var('start_date', 2) }} as n",
            },
            "dbt_project.yml:4",
            "strat_date",
            "start_date",
        ),
        (
            {"dbt_project.yml": f"{PROJECT}vars:\n  cuvee:\n    decontaminaton: off"},
            "dbt_project.yml:5",
            "decontaminaton",
            "decontamination",
        ),
    ],
)
def test_a_slip_of_the_keyboard_is_an_error_at_its_line(
    tmp_path: Path, files: dict[str, str], where: str, said: str, meant: str
) -> None:
    (error,) = errors(tmp_path, files)
    assert str(error.where) == where
    assert said.lstrip("+") in error.message
    assert error.hint == f"did you mean {meant}?"


def test_a_var_of_the_command_line_is_judged_too(tmp_path: Path) -> None:
    files = {"models/m.sql": "select {{ var('start_date', 2) }} as n"}
    (error,) = errors(tmp_path, files, strat_date=1)
    assert (str(error.where), error.hint) == ("--vars", "did you mean start_date?")
    assert loaded(tmp_path, files, other=1).warnings == ("1 setting that nothing reads: var other (1)",)
    assert not loaded(tmp_path, files, start_date=1).warnings


def test_other_unknown_names_are_counted_once(tmp_path: Path) -> None:
    files = {
        "dbt_project.yml": f"{PROJECT}vars: {{nobody: 1}}\nmodels: {{p: {{+owned_by: me}}}}",
        "models/m.sql": "{{ config(owned_by='you') }} select 1 as n",
        "models/s.yml": "models: [{name: m, sla: 3, meta: {descriptoin: free}, config: {meta: {any: 1}}}]",
    }
    (warning,) = loaded(tmp_path, files).warnings
    assert warning == "3 settings that nothing reads: owned_by (2), var nobody (1), sla (1)"


def test_what_a_template_reads_is_known(tmp_path: Path) -> None:
    files = {
        "dbt_project.yml": f"{PROJECT}vars: {{mine: 1, other: {{theirs: 2}}}}\n"
        "models: {p: {+owned_by: me, +team: a, +tier: 1}}",
        "macros/a.sql": "{% macro a() %}{{ config.get('owned_by') }}{{ model.config.team }}"
        "{{ model['config']['tier'] }}{{ var('mine') }}{% endmacro %}",
        "dbt_packages/other/dbt_project.yml": "name: other\nmodels: {+materialised: view}",
        "dbt_packages/other/macros/b.sql": "{% macro b() %}{{ var('theirs', 1) }}{% endmacro %}",
        "dbt_packages/other/models/s.yml": "models: []\nmodles: []",
    }
    assert not loaded(tmp_path, files).warnings, "and the files of packages are not judged"


def test_where_a_name_is_computed_nothing_is_said_of_it(tmp_path: Path) -> None:
    files = {
        "dbt_project.yml": f"{PROJECT}vars: {{nobody: 1}}",
        "models/m.sql": "{% set name = 'no' ~ 'body' %} select {{ var(name) }} as n",
    }
    assert not loaded(tmp_path, files).warnings
    files["models/m.sql"] = "{% set name = 'x' %} select 1 as n -- {{ config.get(name) }}"
    files["dbt_project.yml"] = f"{PROJECT}models: {{+owned_by: me}}"
    assert not loaded(tmp_path, files).warnings
    files["dbt_project.yml"] = f"{PROJECT}models: {{+materialised: table}}"
    assert errors(tmp_path, files), "a misspelt key of dbt is an error all the same"


def test_keys_of_dbt_and_its_adapters_are_known(tmp_path: Path) -> None:
    files = {
        "dbt_project.yml": f"{PROJECT}models:\n  +dist: even\n  +sort: n\n  +cluster_by: [n]\n  +transient: true\n"
        "  +persist_docs: {relation: true}\n  p: {+partition_by: {field: n, data_type: int64}, +group: g}\n"
        "clean-targets: [target]\nflags: {send_anonymous_usage_stats: false}\nquery-comment: x",
        "models/s.yml": "version: 2\n"
        "groups: [{name: g, owner: {email: a@b.c}}]\n"
        "models:\n  - name: m\n    access: public\n    latest_version: 1\n    deprecation_date: 2030-01-01\n"
        "    docs: {show: true, node_color: red}\n    time_spine: {standard_granularity_column: n}\n"
        "    constraints: [{type: check, expression: n > 0, warn_unenforced: false}]\n"
        "    config: {contract: {enforced: false, alias_types: true}, event_time: n, freshness: {build_after: {}}}\n"
        "    columns: [{name: n, data_type: int, quote: true, constraints: [{type: not_null}], policy_tags: [x]}]\n"
        "    versions: [{v: 1, columns: [{include: all, exclude: [n]}]}]\n"
        "macros: [{name: a, description: x, arguments: [{name: b, type: string, description: y}]}]\n"
        "semantic_models: [{name: s}]\n.anchor: &a {x: 1}",
        "macros/a.sql": "{% macro a(b) %}{% endmacro %}",
    }
    assert not loaded(tmp_path, files).warnings


def test_cuvees_own_package_is_not_judged(tmp_path: Path) -> None:
    files = {"models/m.sql": "select doc_id from {{ ref('train_pool') }}"}
    project = loaded(tmp_path, files)
    assert "cuvee" in project.packages
    assert not project.warnings


@pytest.mark.parametrize(
    ("name", "known"),
    [("kind", "bind"), ("year_2024", "year_2025"), ("seed2", "seed"), ("owner", "quote"), ("x", "y"), ("page", "tag")],
)
def test_names_of_their_own_are_near_to_nothing(name: str, known: str) -> None:
    assert near(name, [known]) is None


@pytest.mark.parametrize(("name", "known"), [("tag", "tags"), ("unqiue_key", "unique_key"), ("Enabled", "enabled")])
def test_slips_are_near_to_what_was_meant(name: str, known: str) -> None:
    assert near(name, [known]) == known
