"""Unit tests of models: what is given, what is compared, when they run, and what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import write
from tests.warehouse.expensive_functions import functions
from tests.warehouse.helpers import build, why
from udfs.errors import CuveeError
from warehouse.build import build as building
from warehouse.graph.loaded_project import open_project
from warehouse.lake.lake import Lake
from warehouse.project.options import Selection
from warehouse.project.project import ProjectErrors
from warehouse.project.results import NodeResult

FILES = {
    "dbt_project.yml": "name: p\nvars: {low: 3}\nmodels: {p: {+materialized: table}}",
    "seeds/people.csv": "id,name,born\n1,Ada,2020-01-02\n2,Bo,\n",
    "models/stg.sql": "select id, upper(name) as name, born from {{ ref('people') }}",
    "models/eph.sql": "{{ config(materialized='ephemeral') }}"
    " select id, name from {{ ref('stg') }} where id >= {{ var('low') }}",
    "models/joined.sql": "select s.id, s.name, e.name as other, {'a': s.name} as pair, [s.id] as ids, s.born\n"
    "from {{ ref('stg') }} as s left join {{ ref('eph') }} as e using (id)",
    "models/grown.sql": "{{ config(materialized='incremental') }} select id, name from {{ ref('stg') }}\n"
    "{% if is_incremental() %} where id > (select max(id) from {{ this }}) {% endif %}",
    "models/bare.sql": "select lower(name) as name, '{{ env_var('CUVEE_NOWHERE', 'home') }}' as place,"
    " {{ twice('id') }} as two from main.stg",
    "macros/m.sql": "{% macro twice(x) %}{{ x }} * 2{% endmacro %}",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "p", FILES)


def unit(root: Path, text: str) -> Path:
    return write(root, {"models/units.yml": "unit_tests:\n" + text})


def outcome(lake: Lake, root: Path, text: str) -> NodeResult:
    """What becomes of one unit test, named t, of a project of which nothing is built."""
    unit(root, text)
    (result,) = building.build(lake, root, Selection(("t",)))
    return result


@pytest.mark.parametrize(
    "text",
    [
        # Columns that are not given are NULL; columns that are not expected, and the rows' order, do not matter.
        """
  - name: t
    model: joined
    given:
      - input: ref('stg')
        rows: [{id: 1, name: a, born: 2020-01-01}, {ID: 2, born: null}]
      - input: ref('eph')
        rows: [{id: 1, name: x}]
    expect:
      rows:
        - {id: 2, name: null, other: null, pair: {a: null}, ids: [2]}
        - {id: 1, name: a, other: x, pair: {a: a}, ids: [1]}
""",
        # A seed's own rows, CSV with an empty value, values as texts.
        """
  - name: t
    model: stg
    given: [{input: ref('people')}]
    expect: {format: csv, rows: "born,name\\n2020-01-02,ADA\\n,BO\\n"}
""",
        # What is_incremental() says, and the rows of the table that is there.
        """
  - name: t
    model: grown
    overrides: {macros: {is_incremental: true}}
    given:
      - input: ref('p', 'stg')
        format: sql
        rows: select {{ var('low') }} as id, 'x' as name union all select 5, 'y'
      - input: this
        rows: [{id: 3}]
    expect: {format: sql, rows: "select 'y' as name, '5' as id"}
""",
        """
  - name: t
    model: grown
    overrides: {macros: {is_incremental: false}}
    given: [{input: ref('stg'), rows: [{id: 1, name: a}, {id: 1, name: a}]}]
    expect: {rows: [{id: 1}, {id: 1}]}
""",
        # A table that the model names without ref, and overrides of macros, variables and the environment.
        """
  - name: t
    model: bare
    overrides: {macros: {twice: 7}, env_vars: {CUVEE_NOWHERE: away}}
    given: [{input: ref('stg'), rows: [{id: 1, name: A}]}]
    expect: {rows: [{name: a, place: away, two: 7}]}
""",
        """
  - name: t
    model: eph
    overrides: {vars: {low: 10}}
    given: [{input: ref('stg'), rows: [{id: 9}, {id: 10}]}]
    expect: {rows: [{id: 10}]}
""",
        # No rows given, none expected.
        """
  - name: t
    model: stg
    given: [{input: ref('people'), rows: []}]
    expect: {rows: []}
""",
    ],
)
def test_a_unit_test_needs_nothing_in_the_lake(lake: Lake, root: Path, text: str) -> None:
    before = lake.tables()
    result = outcome(lake, root, text)
    assert (result.status, result.message) == ("pass", "")
    assert [each.name for each in lake.tables()] == [each.name for each in before], "nothing but the outcome is written"


def test_a_difference_shows_what_is_missing_too_many_and_changed(lake: Lake, root: Path) -> None:
    result = outcome(
        lake,
        root,
        """
  - name: t
    model: stg
    given:
      - input: ref('people')
        rows: [{id: 1, name: a}, {id: 2, name: b}, {id: 3, name: c}, {id: 3, name: c}]
    expect:
      rows: [{id: 1, name: A}, {id: 2, name: X}, {id: 3, name: C}, {id: 9, name: Q}]
""",
    )
    assert (result.status, result.rows) == ("fail", 1)
    assert result.message == (
        "actual differs from expected, 2 rows are the same:\n"
        "@@  | id | name\n"
        "→   | 2  | X → B\n"
        "--- | 9  | Q\n"
        "+++ | 3  | C"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("given: [{input: ref('people'), rows: [{nam: a}]}]\n    expect: {rows: []}", "did you mean name?"),
        ("given: [{input: ref('people'), rows: [{id: x}]}]\n    expect: {rows: []}", "models/units.yml:4: Conversion"),
        ("given: [{input: ref('people'), rows: []}]\n    expect: {rows: [{i: 1}]}", "stg has no column 'i'"),
        ("given: []\n    expect: {rows: []}", "no rows are given for ref('people'), which stg reads"),
        ("given: [{input: ref('people'), format: sql, rows: select 1}]\n    expect: {rows: []}", "models/stg.sql:"),
    ],
)  # fmt: skip
def test_a_unit_test_that_cannot_run_says_why(lake: Lake, root: Path, text: str, said: str) -> None:
    result = outcome(lake, root, f"  - name: t\n    model: stg\n    {text}\n")
    assert result.status == "error"
    assert said in result.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: stgg\n    given: []\n    expect: {rows: []}", "did you mean stg?"),
        ("model: stg\n    given: [{input: ref('peple')}]\n    expect: {rows: []}", "did you mean people?"),
        ("model: stg\n    given: [{input: people}]\n    expect: {rows: []}", "'people' is not a valid reference"),
        ("model: stg\n    given: [{inputs: x}]\n    expect: {rows: []}", "needs an input"),
        ("model: stg\n    given: []\n    expects: {rows: []}", "did you mean expect?"),
        ("model: stg\n    given: []\n    expect: {format: csv, fixture: nowhere}", "write tests/fixtures/nowhere.csv"),
        ("model: stg\n    given: []\n    expect: {format: cvs, rows: a}", "did you mean csv?"),
        ("model: grown\n    given: [{input: ref('stg'), rows: []}]\n    expect: {rows: []}", "asks is_incremental()"),
        (
            "model: grown\n    overrides: {macros: {is_incremental: true}}\n"
            "    given: [{input: ref('stg'), rows: []}]\n    expect: {rows: []}",
            "no rows are given for the input this",
        ),
    ],
)
def test_what_a_unit_test_states_is_checked_with_the_project(lake: Lake, root: Path, text: str, said: str) -> None:
    unit(root, f"  - name: t\n    {text}\n")
    with pytest.raises(ProjectErrors) as raised:
        open_project(lake, root)
    assert said in str(raised.value)
    assert "models/units.yml:" in str(raised.value)


def test_rows_in_files_of_their_own(lake: Lake, root: Path) -> None:
    write(
        root,
        {
            "tests/fixtures/given.csv": "id,name\n1,a\n",
            "tests/fixtures/more/wanted.sql": "select 'A' as name",
            "tests/singular.sql": "select 1 where false",
        },
    )
    text = """
  - name: t
    model: stg
    given: [{input: ref('people'), format: csv, fixture: given}]
    expect: {format: sql, fixture: wanted}
"""
    assert outcome(lake, root, text).status == "pass"
    write(root, {"tests/fixtures/given.csv": "id,name\n1,b\n"})
    assert why(lake, root)["t"] == "the test or its model changed"
    assert outcome(lake, root, text).status == "fail"


UNIT = """
  - name: upper_names
    model: stg
    config: {{tags: [quick]}}
    given: [{{input: ref('people'), rows: [{{id: 1, name: a}}]}}]
    expect: {{rows: [{{name: {name}}}]}}
"""


def test_a_failing_unit_test_keeps_its_model_from_being_built(lake: Lake, root: Path) -> None:
    unit(root, UNIT.format(name="B"))
    write(root, {"models/schema.yml": "models: [{name: stg, columns: [{name: id, data_tests: [not_null]}]}]"})
    results = build(lake, root)
    assert list(results).index("upper_names") < list(results).index("stg")
    assert results["people"].status == "built"
    assert results["upper_names"].status == "fail"
    for name in ("stg", "joined", "grown", "bare", "not_null_stg_id"):
        assert (results[name].status, results[name].message) == ("skipped", "unit test upper_names failed"), name

    unit(root, UNIT.format(name="A"))
    results = build(lake, root)
    assert {each.status for name, each in results.items() if name != "people"} == {"pass", "built"}


def test_a_unit_test_waits_for_the_tests_before_its_model(lake: Lake, root: Path) -> None:
    unit(root, UNIT.format(name="A"))
    seeds = "seeds: [{name: people, columns: [{name: born, data_tests: [not_null]}]}]"
    write(root, {"seeds/schema.yml": seeds})
    results = build(lake, root)
    assert results["not_null_people_born"].status == "fail"
    assert results["upper_names"].status == results["stg"].status == "skipped"


def test_an_unchanged_unit_test_is_not_run_again(lake: Lake, root: Path) -> None:
    unit(root, UNIT.format(name="A"))
    build(lake, root)
    assert why(lake, root) == {}
    seed = root / "seeds/people.csv"
    seed.write_text(seed.read_text() + "3,Cy,\n")
    assert "upper_names" not in why(lake, root), "rows in the lake do not matter to it"
    seed.write_text("id,name,born,more\n1,Ada,2020-01-02,x\n")
    assert why(lake, root)["upper_names"] == "the definition of something upstream changed"
    build(lake, root)
    model = root / "models/stg.sql"
    model.write_text(model.read_text() + " -- a comment")
    assert "upper_names" not in why(lake, root)
    model.write_text("select id, upper(name) || '' as name, born from {{ ref('people') }}")
    assert why(lake, root)["upper_names"] == "the test or its model changed"
    assert building.build(lake, root, Selection(("upper_names",)))[0].status == "pass"
    results = {
        each.name: each
        for each in building.build(
            lake,
            root,
            Selection(
                kinds=(
                    "test",
                    "unit_test",
                )
            ),
        )
    }
    assert results["upper_names"].status == "pass", "cuvee test runs it anyway"


def test_unit_tests_are_selected_by_type_name_tag_and_with_their_model(lake: Lake, root: Path) -> None:
    unit(root, UNIT.format(name="A"))
    write(root, {"models/schema.yml": "models: [{name: stg, columns: [{name: id, data_tests: [not_null]}]}]"})
    graph = open_project(lake, root).graph
    from warehouse.graph.selection import select

    def named(*terms: str) -> set[str]:
        return {graph.steps[key].name for key in select(graph, terms)}

    for term in ("test_type:unit", "resource_type:unit_test", "unit_test:upper_*", "upper_names", "tag:quick"):
        assert named(term) == {"upper_names"}, term
    assert named("stg") == {"stg", "not_null_stg_id", "upper_names"}
    assert named("test_type:data") == {"not_null_stg_id"}
    assert named("stg,test_type:unit") == {"upper_names"}
    assert {"stg", "people"} <= named("+upper_names")


def test_a_disabled_unit_test_and_one_of_a_disabled_model_do_not_run(lake: Lake, root: Path) -> None:
    unit(root, UNIT.format(name="B").replace("tags: [quick]", "enabled: false"))
    assert "upper_names" not in build(lake, root)
    unit(root, UNIT.format(name="B").replace("stg", "joined"))
    model = root / "models/joined.sql"
    model.write_text("{{ config(enabled=false) }}" + model.read_text())
    assert "upper_names" not in build(lake, root)


def test_answers_of_expensive_functions_are_given_and_never_paid_for(lake: Lake, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    root = write(
        tmp_path / "p",
        {
            "dbt_project.yml": "name: p\nmodels: {p: {+materialized: table}}",
            "models/sources.yml": "sources: [{name: raw, tables: [{name: documents}]}]",
            "models/moods.sql": "select doc_id, mood(text).tone.primary as tone, length_class(text, 'x') as n\n"
            "from {{ source('raw', 'documents') }} where mood(text).size = 'long'",
        },
    )
    text = """
  - name: t
    model: moods
    overrides:
      macros:
        mood: {{rows: [{{text: sunny, size: long, tone: {{primary: bright}}}}, {{text: rain, size: short}}]}}
        {length}
    given:
      - input: source('raw', 'documents')
        rows: [{{doc_id: a, text: sunny}}, {{doc_id: b, text: rain}}, {{doc_id: c}}]
    expect: {{rows: [{{doc_id: a, tone: bright, n: 4}}]}}
"""

    def run(length: str) -> NodeResult:
        unit(root, text.format(length=length))
        (result,) = building.build(lake, root, Selection(("t",)), functions=functions(calls))
        return result

    result = run('length_class(length_class): {format: csv, rows: "text,n\\nsunny,4\\nrain,\\n"}')
    assert (result.status, result.message) == ("pass", "")
    assert run("length_class: {rows: [{text: sunny, n: 3}, {text: rain}]}").status == "fail"

    result = run("unknown: 1")
    assert "moods calls length_class, and a unit test pays for no answer" in result.message
    assert "overrides: {macros: {length_class: {rows: [{text: 'a text', n: …}]}}}" in result.message
    assert "on 'rain', and the test gives no answer to it" in run("length_class: {rows: [{text: sunny}]}").message
    assert "did you mean n?" in run("length_class: {rows: [{text: sunny, nn: 3}]}").message
    assert not calls.exists()
    assert not [each for each in lake.tables() if each.name.startswith(("labels.", "counts."))]


def test_types_that_cannot_be_known_are_an_error(lake: Lake, tmp_path: Path) -> None:
    root = write(
        tmp_path / "p",
        {
            "dbt_project.yml": "name: p",
            "models/sources.yml": "sources: [{name: far, tables: [{name: away}]}]",
            "models/m.sql": "select x from {{ source('far', 'away') }}",
        },
    )
    text = (
        "  - {name: t, model: m, given: [{input: \"source('far', 'away')\", rows: [{x: 1}]}], expect: {rows: [{x: 1}]}}"
    )
    result = outcome(lake, root, text)
    assert result.status == "error"
    assert "the types of source('far', 'away') are not known: it is not in the lake" in result.message
    sources = "sources: [{name: far, tables: [{name: away, columns: [{name: x, data_type: int}]}]}]"
    write(root, {"models/sources.yml": sources})
    assert outcome(lake, root, text).status == "pass"


def test_two_unit_tests_of_one_name(lake: Lake, root: Path) -> None:
    unit(root, UNIT.format(name="A") + UNIT.format(name="A"))
    with pytest.raises(CuveeError, match="two unit tests of stg are named upper_names"):
        open_project(lake, root)
