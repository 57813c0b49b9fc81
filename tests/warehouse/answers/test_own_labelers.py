"""A project with a labeler and a taxonomy of its own, built."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import macros_only
from warehouse.answers import answers
from warehouse.build import build as building
from warehouse.lake.lake import Lake

LABELER = "taxonomy: newsroom\nbackend: fake\ngeneration: {max_tokens: 9}\nprompt: {user: 'Which desk? {{ text }}'}\n"
TAXONOMY = """
categories:
  - name: desk
    labels:
      - {code: 1, label: Politics}
      - {code: 2, label: Sports}
"""


@pytest.fixture
def project(tmp_path: Path, lake: Lake) -> Path:
    root = tmp_path / "sql"
    (root / "seeds").mkdir(parents=True)
    for name, content in {
        "dbt_project.yml": macros_only("own"),
        "labelers/desk.yml": LABELER,
        "taxonomies/newsroom.yml": TAXONOMY,
        "models/pages.sql": "select 'page ' || n as text from range(50) t(n) union all select ' '",
        "models/labelled.sql": "select text, label_document(text, 'desk') as label from {{ ref('pages') }}",
        "models/sports.sql": "select text from {{ ref('labelled') }}"
        " where {{ cuvee.label_is('desk', 'Sports', taxonomy='newsroom') }}",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def built(lake: Lake, project: Path) -> dict[str, str]:
    return {result.name: result.status for result in building.build(lake, project)}


def count(lake: Lake, sql: str) -> int:
    row = lake.cursor().execute(sql).fetchone()
    assert row is not None
    return int(row[0])


def test_labels_are_stored_by_taxonomy_and_found_by_name(lake: Lake, project: Path) -> None:
    assert set(built(lake, project).values()) == {"built"}
    assert count(lake, "select count(*) from lake.labels.newsroom where labeler = 'desk' and status = 'ok'") == 51
    assert count(lake, "select count(*) from lake.labels.newsroom_long where category = 'desk' and code = '-1'") == 1
    sports = count(lake, "select count(*) from lake.main.sports")
    assert 0 < sports < 50
    assert sports == count(
        lake, "select count(*) from lake.labels.newsroom where desk.primary = '2' or desk.secondary = '2'"
    )


def test_a_changed_prompt_labels_anew_and_a_comment_does_not(lake: Lake, project: Path) -> None:
    built(lake, project)
    path = project / "labelers" / "desk.yml"
    path.write_text("# the desk that would print it\n" + LABELER)
    assert set(built(lake, project).values()) == {"unchanged"}
    path.write_text(LABELER.replace("Which desk?", "Whose page is it?"))
    assert built(lake, project)["labelled"] == "built"
    assert count(lake, "select count(distinct fingerprint) from lake.labels.newsroom") == 2
    assert count(lake, "select count(*) from lake.labels.newsroom") == 102


def test_a_mistake_in_a_labelers_file_is_shown_with_its_line(lake: Lake, project: Path) -> None:
    (project / "labelers" / "desk.yml").write_text(LABELER.replace("max_tokens", "max_token"))
    failed = next(result for result in building.build(lake, project) if result.name == "labelled")
    assert failed.failed
    assert "desk.yml:3: generation has no setting 'max_token'" in failed.message


def test_many_answers_are_joined_from_their_store_and_give_what_few_give(
    lake: Lake, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, cursor = project / "models" / "labelled.sql", lake.cursor()
    second = "label_document(text, 'desk').desk.secondary as second"
    sql = model.read_text().replace(" as label", f" as label, {second}")

    def rebuilt(note: str) -> tuple[list[tuple[str, ...]], list[tuple[object, ...]]]:
        model.write_text(f"{sql} where text <> '{note}'")
        results = {result.name: result.message or result.status for result in building.build(lake, project)}
        assert results["labelled"] == "built", results
        types = cursor.execute("describe lake.main.labelled").fetchall()
        return types, cursor.execute("select * from lake.main.labelled order by text").fetchall()

    few = rebuilt("few")
    assert {row[1]["desk"]["primary"] for row in few[1]} == {"1", "2", "-1"}  # type: ignore[index]
    monkeypatch.setattr(answers, "_MANY", 1)
    assert rebuilt("many") == few
    with lake.commit("another build, an hour ago") as commit:
        commit.sql(
            "insert into lake.labels.newsroom select * replace (labelled_at - interval 1 hour as labelled_at,"
            " {'primary': '1', 'secondary': null} as desk) from lake.labels.newsroom"
        )
    assert rebuilt("twice") == few
