"""Cuvée's dbt package in a user's project: when it is there, how names resolve, and how its models are replaced."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.helpers import SQL, macros_only, write
from tests.warehouse.helpers import build
from udfs.errors import CuveeError, UsageError
from warehouse.graph.loaded_project import open_project
from warehouse.lake.lake import Lake
from warehouse.project import package, starter
from warehouse.project.project_files import load
from warehouse.render.renderer import Renderer

#: A project with all of the package but the model components.
OWN_COMPONENTS = "name: p\nmodels: {cuvee: {mixtures: {components: {+enabled: false}}}}\n"


def rendered(root: Path, name: str) -> str:
    read = load(root)
    found = Renderer(read).render(next(node for node in read.nodes.values() if node.name == name))
    if found.problem:
        raise found.problem
    return found.sql


def test_a_project_that_names_nothing_of_it_is_not_given_it(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain", {"dbt_project.yml": "name: p", "models/m.sql": "select 1 as documents"})
    assert load(plain).packages == ("p",)
    for number, text in enumerate(("{{ cuvee.is_benchmark('x') }}", "select * from {{ ref('train_pool') }}")):
        root = write(tmp_path / str(number), {"dbt_project.yml": "name: p", "models/m.sql": text})
        assert load(root).packages == ("p", "cuvee")
    own = {
        "dbt_project.yml": "name: p",
        "models/m.sql": "from {{ ref('documents') }}",
        "models/documents.sql": "select 1",
    }
    assert load(write(tmp_path / "own", own)).packages == ("p",)


def test_the_package_itself_is_a_project_and_no_other_has_its_name(tmp_path: Path) -> None:
    assert load(SQL).packages == ("cuvee",)
    root = write(tmp_path, {"dbt_project.yml": "name: cuvee"})
    with pytest.raises(CuveeError, match="no other project can be named cuvee"):
        load(root)


def test_vars_are_found_in_dbts_order(tmp_path: Path) -> None:
    """The package's own come last; then the project's, its block for the package, and the command line."""
    model = "select '{{ cuvee.kept_for_evaluation(\"d\") }}' as a, {{ var('seed') }} as seed"
    files = {"models/m.sql": model, "dbt_project.yml": "name: p\nvars: {seed: 5}\nmodels: {cuvee: {}}"}
    root = write(tmp_path, files)
    assert "'5:random:'" in rendered(root, "evaluation_random")
    assert "select" in rendered(root, "m"), "macros have defaults for the vars that the caller's project lacks"
    (root / "dbt_project.yml").write_text("name: p\nvars: {seed: 5, cuvee: {seed: 6}}\nmodels: {cuvee: {}}")
    assert "'6:random:'" in rendered(root, "evaluation_random")
    assert "5 as seed" in rendered(root, "m")


def test_a_macro_sees_the_names_of_the_model_that_calls_it(tmp_path: Path) -> None:
    inner = {
        "dbt_packages/tools/dbt_project.yml": "name: tools",
        "dbt_packages/tools/macros/m.sql": "{% macro outer() %}{{ inner() }}{% endmacro %}"
        "{% macro inner() %}1{% endmacro %}{% macro whole() %}{{ tools.inner() }}{% endmacro %}",
    }
    files = {
        "dbt_project.yml": "name: p",
        "models/m.sql": "select {{ tools.whole() }}",
        "models/n.sql": "{{ tools.outer() }}",
    }
    root = write(tmp_path, {**inner, **files})
    assert rendered(root, "m") == "select 1"
    with pytest.raises(CuveeError, match="'inner' is undefined"):
        rendered(root, "n")
    (root / "macros").mkdir()
    (root / "macros" / "own.sql").write_text("{% macro inner() %}2{% endmacro %}")
    assert rendered(root, "n") == "2", "the project's, as in dbt"


@pytest.mark.parametrize("flag", [True, False])
def test_a_model_of_the_project_takes_the_place_of_a_disabled_one(lake: Lake, tmp_path: Path, flag: bool) -> None:
    settings = OWN_COMPONENTS + f"flags: {{require_ref_searches_node_package_before_root: {flag}}}\n"
    own = "select doc_id, 'all' as component from {{ ref('documents') }}"
    root = write(tmp_path / "p", {"dbt_project.yml": settings, "models/components.sql": own})
    graph = open_project(lake, root).graph
    assert "model.p.components" in graph.steps["model.cuvee.train_pool"].parents
    (root / "models/components.sql").write_text("select doc_id, 'all' as part from {{ ref('documents') }}")
    found = build(lake, root, "+components")
    assert "components has no column component" in found["components"].message


def test_two_enabled_models_of_one_name_are_an_error(lake: Lake, tmp_path: Path) -> None:
    files = {
        "dbt_project.yml": "name: p\nmodels: {cuvee: {}}",
        "models/components.sql": "{{ config(schema='elsewhere') }} select 1 as doc_id",
        "models/sources.yml": "sources: [{name: raw, tables: [{name: documents}]}]",
    }
    with pytest.raises(CuveeError) as error:
        open_project(lake, write(tmp_path / "p", files))
    assert "components is also a model of Cuvée's package" in str(error.value)
    assert "models: cuvee: mixtures: components: +enabled: false" in str(error.value)
    assert "raw.documents is also a source of Cuvée's package" in str(error.value)


def test_macros_alone_are_given_too(lake: Lake, tmp_path: Path) -> None:
    model = "select {{ cuvee.held_out('x', 1, 17) }} as held from (select 'a' as x)"
    root = write(tmp_path / "p", {"dbt_project.yml": macros_only("p"), "models/m.sql": model})
    assert {name: each.status for name, each in build(lake, root).items()} == {"m": "built"}


def test_init_writes_a_project_once(tmp_path: Path) -> None:
    folder = tmp_path / "Cuvee"
    folder.mkdir()
    written = starter.write(folder, "project", ("zero_shot",))
    assert written.name == "my_cuvee" and Path("models/components.sql") in written.new and not written.kept
    settings = yaml.safe_load((folder / "dbt_project.yml").read_text())
    assert (settings["name"], settings["vars"]["labelers"]) == ("my_cuvee", ["zero_shot"])
    (folder / "models/components.sql").write_text("mine")
    again = starter.write(folder, "project", ())
    assert not again.new and (folder / "models/components.sql").read_text() == "mine"


def test_init_adds_what_a_dbt_project_lacks(tmp_path: Path) -> None:
    root = write(tmp_path, {"dbt_project.yml": "name: shop\nprofile: shop\n", "models/m.sql": "select 1"})
    written = starter.write(root, "project", ())
    assert written.name == "shop" and Path("dbt_project.yml") in written.kept
    assert not (root / "models/components.sql").exists(), "the project does not disable Cuvée's"
    assert (root / "profiles.yml").read_text().startswith("shop:")
    load(root)


def test_deps_copies_the_package_and_names_it_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no dbt_project\.yml"):
        starter.copy_package(tmp_path)
    root = write(
        tmp_path, {"dbt_project.yml": "name: p\nmodels: {cuvee: {}}", "packages.yml": "packages:\n  - package: a/b\n"}
    )
    assert starter.copy_package(root) == (root / ".cuvee/package", True)
    assert starter.copy_package(root) == (root / ".cuvee/package", False)
    listed = yaml.safe_load((root / "packages.yml").read_text())["packages"]
    assert listed == [{"local": ".cuvee/package"}, {"package": "a/b"}]
    assert {p.name for p in (root / ".cuvee/package").iterdir()} >= {
        "dbt_project.yml",
        "models",
        "macros",
        "seeds",
        "tests",
    }
    assert load(root).warnings == ()
    stated = root / ".cuvee/package/dbt_project.yml"
    stated.write_text(stated.read_text().replace("1.0.0", "0.9.0"))
    assert "another version" in load(root).warnings[0]


def test_the_replaceable_models_have_no_entry_and_no_unit_test() -> None:
    """Dbt lays both on the user's model, and refuses a second entry."""
    for file in (SQL / "models").rglob("*.yml"):
        stated = yaml.safe_load(file.read_text())
        described = {entry["name"] for entry in stated.get("models", ())}
        given = {each["input"] for test in stated.get("unit_tests", ()) for each in test["given"]}
        for name in package.REPLACEABLE:
            assert name not in described and f"ref('{name}')" not in given, (file, name)
