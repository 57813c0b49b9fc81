"""Labels by name in models: codes are looked up when a model is compiled."""

from __future__ import annotations

from pathlib import Path

import pytest

from udfs.errors import CuveeError
from warehouse.lake.lake import Lake
from warehouse.project.project_files import load
from warehouse.render.renderer import Renderer

PALETTE = """
categories:
  - name: colour
    labels:
      - {code: warm, label: Warm}
      - {code: r, label: Red, parent: warm}
      - {code: o, label: "Painter's orange", parent: warm}
      - {code: b, label: Blue}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "sql"
    root.mkdir()
    (root / "dbt_project.yml").write_text("name: labels\nmodels: {cuvee: {+enabled: false}}\n")
    (root / "taxonomies").mkdir()
    (root / "taxonomies" / "palette.yml").write_text(PALETTE)
    (root / "models").mkdir()
    return root


def compiled(project: Path, sql: str) -> str:
    (project / "models" / "m.sql").write_text(sql)
    read = load(project)
    renderer = Renderer(read)
    return renderer.render(next(node for node in read.nodes.values() if node.name == "m")).sql


def true_for(project: Path, condition: str, category: str, *pairs: tuple[str | None, str | None]) -> list[bool]:
    import duckdb

    sql = compiled(project, f"select {{{{ {condition} }}}} as found")
    values = ", ".join(
        "struct_pack({} := {{'primary': {}, 'secondary': {}}})".format(
            category, *("null::varchar" if code is None else f"'{code}'" for code in pair)
        )
        for pair in pairs
    )
    return [row[0] for row in duckdb.sql(f"{sql} from (select unnest([{values}]) as label)").fetchall()]


def test_a_name_is_a_code_when_the_model_is_compiled(project: Path) -> None:
    sql = compiled(project, "select {{ cuvee.label_is('document_type_v2', 'tutorial', 'l.label') }}")
    assert "label.document_type_v2.primary in ('23')" in sql
    assert "taxonomy" not in sql
    assert true_for(
        project, "cuvee.label_is('document_type_v2', 'Tutorial')", "document_type_v2",
        ("23", None), ("1", "23"), ("1", None), (None, None),
    ) == [True, True, False, False]  # fmt: skip


def test_a_class_of_fdc_means_all_below_it(project: Path) -> None:
    codes: list[tuple[str | None, str | None]] = [("513.2", None), ("005.1", "510"), ("530", "-1"), (None, None)]
    for name in ("Mathematics", "51"):
        condition = f"cuvee.label_is('free_decimal_correspondence', '{name}')"
        assert true_for(project, condition, "free_decimal_correspondence", *codes) == [True, True, False, False]


def test_labels_of_a_yaml_file_are_known_too(project: Path) -> None:
    condition = "cuvee.label_is('colour', 'Warm', taxonomy='palette')"
    assert true_for(project, condition, "colour", ("r", None), ("b", "o"), ("b", None)) == [True, True, False]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("cuvee.label_is('document_type_v2', 'Tutorail')", "did you mean Tutorial?"),
        ("cuvee.label_is('document_type_v3', 'Tutorial')", "did you mean document_type_v2 or document_type_v1?"),
        ("cuvee.label_is('colour', 'Red', taxonomy='palete')", "did you mean palette?"),
        ("cuvee.label_is('free_decimal_correspondence', 'Monasticism and religious orders')", "name a code: 255, 271"),
    ],
)
def test_a_name_nobody_knows_stops_the_compilation(project: Path, call: str, says: str) -> None:
    with pytest.raises(CuveeError) as caught:
        compiled(project, f"select\n  {{{{ {call} }}}}")
    assert says in str(caught.value)
    assert "models/m.sql:2" in str(caught.value)


def test_labels_are_rows(project: Path, lake: Lake) -> None:
    import duckdb

    sql = compiled(
        project, "select code, label, level, parent from {{ cuvee.taxonomy_labels('palette') }} order by code"
    )
    assert duckdb.sql(sql).fetchall() == [
        ("b", "Blue", 1, None), ("o", "Painter's orange", 2, "warm"), ("r", "Red", 2, "warm"), ("warm", "Warm", 1, None)
    ]  # fmt: skip


def test_every_fdc_code_has_a_domain(project: Path, lake: Lake) -> None:
    from warehouse.build import build

    (project / "models" / "m.sql").write_text(
        "{{ config(materialized='table') }}"
        " select code, {{ cuvee.label_of_fdc('code') }} as domain from {{ ref('fdc') }}"
        " union all select code, {{ cuvee.label_of_fdc('code') }} from (values ('636.72'), ('513.212'), ('-1')) t(code)"
    )
    results = build.build(lake, project)
    assert not [result for result in results if result.failed]
    rows = dict(lake.cursor().execute("select code, domain from lake.main.m").fetchall())
    assert rows.pop("-1") is None
    assert not [code for code, domain in rows.items() if domain is None and len(code) >= 3]
    assert (rows["636.72"], rows["636"], rows["513.212"], rows["796"]) == (
        "pets",
        "agriculture",
        "mathematics",
        "sports",
    )
    assert len(set(rows.values()) - {None}) == 33


def test_a_code_has_the_names_of_its_first_digits(project: Path, lake: Lake) -> None:
    from warehouse.build import build

    levels = ", ".join(f"{{{{ cuvee.fdc_label('code', {level}) }}}} as level_{level}" for level in (1, 2, 3))
    (project / "models" / "m.sql").write_text(
        f"{{{{ config(materialized='table') }}}} select code, {levels}"
        " from (values ('513.212'), ('005.1'), ('92'), ('641.563.2'), ('-1'), (null)) t(code)"
    )
    assert not [result for result in build.build(lake, project) if result.failed]
    found = lake.cursor().execute("select * from lake.main.m").fetchall()
    assert {row[0]: row[1:] for row in found} == {
        "513.212": ("Science and Natural history", "Mathematics", "Geometry"),
        "005.1": ("General works, books and libraries, information sciences", None, "Computer programming"),
        "92": ("History and Geography", "Biography", None),
        "641.563.2": ("Industrial arts, Technology, and Engineering", "Home economics", "Cooking and Gastronomy"),
        "-1": (None, None, None),
        None: (None, None, None),
    }
