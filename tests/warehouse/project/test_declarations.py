"""What YAML and Markdown declare besides models: docs blocks, exposures, named selections."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import write
from tests.warehouse.helpers import build, why
from udfs.errors import CuveeError
from warehouse.build.build_options import BuildOptions
from warehouse.build.node_selection import selected_nodes
from warehouse.graph.loaded_project import LoadedProject, open_project
from warehouse.graph.selection import SelectionError
from warehouse.lake.lake import Lake
from warehouse.project.options import Selection
from warehouse.project.project import ProjectErrors

EXPOSURE = """
exposures:
  - name: board
    type: dashboard
    owner: {email: ada@example.org}
    description: "{{ doc('board') }}"
    depends_on: [ref('b'), "source('raw', 'documents')"]
    config: {tags: [top]}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(
        tmp_path / "p",
        {
            "dbt_project.yml": "name: p\nmodels: {p: {+materialized: table}}",
            "models/a.sql": "select 1 as n",
            "models/b.sql": "select n from {{ ref('a') }}",
            "models/c.sql": "select n from {{ ref('b') }}",
            "models/schema.yml": "sources: [{name: raw, tables: [{name: documents}]}]\n"
            "models:\n"
            "  - name: a\n"
            "    description: \"{{ doc('n') }}, {{ var('unit', 'times') }}\"\n"
            "    config: {tags: [first], group: ours, access: public}\n"
            "    columns:\n"
            "      - name: n\n"
            "        description: \"{{ doc('p', 'n') }}\"\n"
            "        data_tests: [not_null, unique]\n"
            "  - {name: b, config: {tags: [second], group: ours}}\n" + EXPOSURE,
            "models/about.md": "Words outside.\n{% docs n %}\nHow {{ many }}.\n{% enddocs %}\n"
            "{%- docs board -%} What they see. {%- enddocs -%}\n",
        },
    )


def opened(lake: Lake, root: Path, **options: object) -> LoadedProject:
    return open_project(lake, root, BuildOptions(**options))  # type: ignore[arg-type]


def test_descriptions_take_the_text_of_docs_blocks(lake: Lake, root: Path) -> None:
    steps = opened(lake, root).graph.steps
    assert steps["model.p.a"].node.description == "How {{ many }}., times", "a block is no template"
    assert steps["model.p.a"].node.columns[0].description == "How {{ many }}."
    assert steps["exposure.p.board"].node.description == "What they see."
    build(lake, root)
    write(root, {"models/about.md": "{% docs n %}Other{% enddocs %}{% docs board %}words{% enddocs %}"})
    assert why(lake, root) == {}, "words are no reason to build"
    assert opened(lake, root).graph.steps["model.p.a"].node.description == "Other, times"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"models/about.md": "{% docs m %}x{% enddocs %}"}, "models/schema.yml:3: no docs block is named 'n'"),
        ({"models/about.md": "{% docs nn %}x{% enddocs %}"}, "did you mean nn?"),
        ({"models/more.md": "\n{% docs open %}x"}, "models/more.md:2: the docs block open does not end"),
        ({"models/more.md": "{% docs n %}x{% enddocs %}"}, "two docs blocks are named n"),
    ],
)
def test_docs_blocks_that_cannot_be(lake: Lake, root: Path, files: dict[str, str], said: str) -> None:
    write(root, files)
    with pytest.raises(ProjectErrors) as raised:
        opened(lake, root)
    assert said in str(raised.value)


def test_an_exposure_is_selected_and_never_built(lake: Lake, root: Path) -> None:
    project = opened(lake, root)
    assert project.graph.steps["exposure.p.board"].parents == ("model.p.b", "source.p.raw.documents")

    def names(*terms: str) -> set[str]:
        return {
            key.partition(".")[2] for key in selected_nodes(project, Selection(terms)) if not key.startswith("test.")
        }

    for term in ("exposure:board", "exposure:p.b*", "resource_type:exposure", "tag:top", "board", "c,b+ board"):
        assert "p.board" in names(term), term
    assert names("+exposure:board") == {"p.a", "p.b", "p.board", "p.raw.documents"}
    assert names("1+exposure:*,resource_type:model") == {"p.b"}
    assert names("b+") == {"p.b", "p.c", "p.board"}
    assert names("group:ours") == {"p.a", "p.b"}
    assert names("access:public") == {"p.a"}
    assert names("access:protected") == {"p.b", "p.c"}
    assert "board" not in build(lake, root)
    assert "board" not in build(lake, root, "+exposure:board")
    assert why(lake, root) == {}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("ref('b')", "ref('bb')", "exposure board: there is no model or seed bb"),
        ("ref('b')", "b", "'b' is not a valid reference"),
        ("'documents'", "'document'", "did you mean raw.documents?"),
        ("type: dashboard", "type: dashbord", "did you mean dashboard?"),
        ("owner: {email: ada@example.org}", "owner: {}", "exposure board has no owner"),
        ("depends_on", "depend_on", "did you mean depends_on?"),
        ("name: board", "name: the board", "'the board' cannot name an exposure"),
    ],
)
def test_exposures_that_cannot_be(lake: Lake, root: Path, before: str, after: str, said: str) -> None:
    schema = root / "models/schema.yml"
    schema.write_text(schema.read_text().replace(EXPOSURE, EXPOSURE.replace(before, after)))
    with pytest.raises(ProjectErrors) as raised:
        opened(lake, root)
    assert said in str(raised.value)
    assert "models/schema.yml:13" in str(raised.value)


def test_an_exposure_of_something_disabled(lake: Lake, root: Path) -> None:
    write(root, {"models/b.sql": "{{ config(enabled=false) }} select 1", "models/c.sql": "select 1"})
    with pytest.raises(ProjectErrors, match="exposure board depends on b, which is disabled"):
        opened(lake, root)


SELECTORS = """
selectors:
  - name: all_but
    description: Everything but what is excluded.
    definition:
      union:
        - method: tag
          value: first
          children: true
          children_depth: 1
        - exposure:board
        - exclude: ["test_name:unique", {method: fqn, value: c}]
  - name: both
    definition: {intersection: [{tag: first}, "test_type:data"]}
  - name: reused
    definition: {method: selector, value: both, exclude: [{test_name: not_null}]}
  - name: term
    definition: +b
"""


def test_named_selections(lake: Lake, root: Path) -> None:
    write(root, {"selectors.yml": SELECTORS})

    def names(**options: object) -> set[str]:
        project = opened(lake, root, **options)
        return {project.graph.steps[key].name for key in selected_nodes(project, Selection())}

    assert names(selector="all_but") == {"a", "b", "not_null_a_n", "board"}
    assert names(selector="both") == {"not_null_a_n", "unique_a_n"}
    assert names(selector="reused") == {"unique_a_n"}
    assert names(selector="term") == {"a", "b", "not_null_a_n", "unique_a_n"}
    assert "c" in names()
    assert list(build(lake, root, selector="reused")) == ["unique_a_n"]

    write(root, {"selectors.yml": SELECTORS.replace("name: both", "name: both\n    default: true")})
    assert names() == {"not_null_a_n", "unique_a_n"}
    project = opened(lake, root)
    assert {project.graph.steps[key].name for key in selected_nodes(project, Selection(("c",)))} == {"c"}, (
        "what is selected counts"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("selectors: [{name: x}]", "selectors.yml:1: a selector needs a name and a definition"),
        ("selectors: [{name: x, definition: 'tagg:y'}]", "did you mean tag?"),
        ("selectors: [{name: x, definition: {method: tag, valeu: y}}]", "did you mean value?"),
        ("selectors: [{name: x, definition: {method: selector, value: x}}]", "selector x is made of itself"),
        ("selectors: [{name: x, definition: {union: [a], intersection: [b]}}]", "union must be the only key"),
        ("selectors: [{name: y, definition: a}]", "no selector is named 'x'"),
        (
            "selectors: [{name: x, default: true, definition: a}, {name: y, default: true, definition: a}]",
            "the default",
        ),
    ],
)
def test_selectors_that_cannot_be(lake: Lake, root: Path, text: str, said: str) -> None:
    write(root, {"selectors.yml": text})
    with pytest.raises(SelectionError) as raised:
        selected_nodes(opened(lake, root, selector="x"), Selection())
    assert said in str(raised.value)


def test_a_selector_and_a_selection_exclude_each_other(lake: Lake, root: Path) -> None:
    from udfs.errors import UsageError

    write(root, {"selectors.yml": SELECTORS})
    with pytest.raises(UsageError, match="--selector excludes --select"):
        selected_nodes(opened(lake, root, selector="both"), Selection(("a",)))


def test_a_folder_outside_of_the_project_is_linked_into_it(tmp_path: Path, lake: Lake) -> None:
    files = {
        "p/dbt_project.yml": "name: p\nmacro-paths: [../shared]",
        "p/models/a.sql": "select {{ one() }} as n",
        "shared/one.sql": "{% macro one() %}1{% endmacro %}",
    }
    root = write(tmp_path, files) / "p"
    with pytest.raises(CuveeError) as caught:
        build(lake, root)
    assert "dbt_project.yml: macro-paths: ../shared is outside of the project" in str(caught.value)
    (root / "shared").symlink_to("../shared")
    write(root, {"dbt_project.yml": "name: p\nmacro-paths: [shared]"})
    build(lake, root)
    write(tmp_path, {"shared/one.sql": "{% macro one() %}2{% endmacro %}"})
    build(lake, root)
    assert lake.reader().execute("from a").fetchall() == [(2,)]
