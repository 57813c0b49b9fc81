"""Selection, by pairs of an expression and the nodes that it names, in tests/fixtures/selection."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.helpers import FIXTURES
from warehouse.build.build import build
from warehouse.build.build_options import BuildOptions
from warehouse.build.node_selection import selected_nodes
from warehouse.graph.loaded_project import LoadedProject, open_project
from warehouse.graph.selection import SelectionError
from warehouse.lake.lake import Lake
from warehouse.project.options import Selection


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> LoadedProject:
    root = tmp_path_factory.mktemp("selection")
    shutil.copytree(FIXTURES / "projects/shop", root / "shop")
    return open_project(Lake.create(root / "lake"), root / "shop")


def selections(file: str) -> list[object]:
    lines = (FIXTURES / "selection" / file).read_text().splitlines()
    pairs = [line.split("=>") for line in lines if "=>" in line and not line.startswith("#")]
    return [pytest.param(given.strip(), expected.strip(), id=given.strip()) for given, expected in pairs]


def selected(opened: LoadedProject, given: str) -> str:
    chosen, _, excluded = given.partition("--exclude")
    steps = [
        opened.graph.steps[key]
        for key in selected_nodes(opened, Selection(tuple(chosen.split()), tuple(excluded.split())))
    ]
    return " ".join(sorted(each.name for each in steps if each.kind != "test"))


@pytest.mark.parametrize(("given", "expected"), selections("shop.txt"))
def test_select(opened: LoadedProject, given: str, expected: str) -> None:
    assert selected(opened, given) == expected


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> LoadedProject:
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
    return open_project(lake, root, BuildOptions(state=root / "target"))


@pytest.mark.parametrize(("given", "expected"), selections("state.txt"))
def test_select_beside_an_older_state(edited: LoadedProject, given: str, expected: str) -> None:
    assert selected(edited, given) == expected


@pytest.mark.parametrize(
    ("given", "said", "hint"),
    [
        ("tag:nigthly", "nothing in the project has the tag 'nigthly'", "did you mean nightly?"),
        ("path:models/mart", "nothing in the project is in 'models/mart'", "models/marts"),
        ("models/mart/customers.sql", "is in 'models/mart/customers.sql'", "models/marts/customers.sql"),
        ("custmers+", "nothing in the project is named 'custmers'", "customers"),
        ("customers --exclude tag:nigthly", "has the tag 'nigthly'", "did you mean nightly?"),
        ("customers,tag:nigthly", "has the tag 'nigthly'", "did you mean nightly?"),
    ],
)
def test_a_name_a_tag_or_a_path_that_selects_nothing_is_an_error(
    opened: LoadedProject, given: str, said: str, hint: str
) -> None:
    with pytest.raises(SelectionError, match=re.escape(said)) as caught:
        selected(opened, given)
    assert hint in str(caught.value.hint)


def test_a_pattern_may_select_nothing(opened: LoadedProject) -> None:
    assert selected(opened, "tag:none*") == selected(opened, "path:models/none*") == ""
