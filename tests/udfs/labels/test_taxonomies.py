"""Taxonomies that a user adds in a file, and what is said about files that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from udfs.errors import UsageError
from udfs.labels.taxonomies.taxonomies import Taxonomies, labels, read
from udfs.labels.taxonomies.taxonomy import TaxonomyError

NEWSROOM = """\
name: newsroom
description: What an editor wants to know of a page.
categories:
  - name: desk
    title: Desk
    description: Who would print it.
    range: 1-3
    labels:
      - {code: 1, label: Politics, description: elections and government}
      - {code: 2, label: Sports}
      - {code: 3, label: Culture}
      - {code: 9, label: Weekend (until 2024)}
  - name: place
    abstain: false
    labels:
      - {code: eu, label: Europe}
      - {code: eu.at, label: Austria, parent: eu, level: 2}
      - {code: 043, label: Vienna, parent: eu.at}
      - {code: us, label: America, prefixes: [973, 071]}
"""


@pytest.fixture
def newsroom(tmp_path: Path) -> Path:
    path = tmp_path / "newsroom.yml"
    path.write_text(NEWSROOM)
    return path


def test_a_yaml_file_is_a_taxonomy(newsroom: Path) -> None:
    taxonomy = read(newsroom)
    desk, place = taxonomy.categories
    assert (taxonomy.name, desk.heading, place.heading) == ("newsroom", "Desk", "Place")
    assert (desk.abstains, place.abstains) == (True, False)
    assert [desk.accepts(code) for code in ("1", "3", "9", "-1", "01")] == [True, True, False, False, False]
    assert desk.code("weekend (until 2024)") == "9"
    assert desk.by_code["1"].description == "elections and government"


def test_labels_lie_under_each_other_and_verdicts_carry_the_lowest(newsroom: Path) -> None:
    place = read(newsroom).category("place")
    assert [label.code for label in place.choices] == ["043", "us"]
    assert [label.label for label in place.path("043")] == ["Europe", "Austria", "Vienna"]
    assert place.below("eu") == ("eu", "eu.at", "043")
    assert place.by_code["us"].prefixes == ("973", "071")


def test_a_csv_file_is_a_taxonomy(tmp_path: Path) -> None:
    path = tmp_path / "moods.csv"
    path.write_text("category,code,label,parent\nmood,-1,Abstain,\nmood,g,Good,\nmood,gg,Great,g\ntone,x,Loud,\n")
    mood, tone = read(path).categories
    assert ([label.code for label in mood.choices], mood.abstains, tone.abstains) == (["gg"], True, False)


def test_a_project_has_eai_and_what_was_added(seeds: Path) -> None:
    project = Taxonomies((seeds.parent,))
    assert project.names() == ["eai", "web_domains"]
    assert len(project.get("eai").categories) == 10
    with pytest.raises(UsageError, match="did you mean web_domains"):
        project.get("web_domain")


def test_taxonomies_are_found_in_both_places_and_names_are_theirs_alone(tmp_path: Path) -> None:
    (tmp_path / "taxonomies").mkdir()
    (tmp_path / "seeds" / "taxonomies").mkdir(parents=True)
    (tmp_path / "taxonomies" / "newsroom.yml").write_text(NEWSROOM)
    project = Taxonomies((tmp_path,))
    assert project.get("newsroom").name == "newsroom"
    (tmp_path / "seeds" / "taxonomies" / "newsroom.csv").write_text("category,code,label\na,1,One\n")
    with pytest.raises(TaxonomyError, match="two taxonomies are named newsroom"):
        project.get("newsroom")


def test_labels_are_rows_in_the_order_of_the_file(newsroom: Path) -> None:
    rows = list(labels(read(newsroom)))
    assert [(row["category"], row["position"], row["code"]) for row in rows][3:5] == [
        ("desk", 1, "9"),
        ("place", 2, "eu"),
    ]
    assert rows[-1]["prefixes"] == "973 071"


def test_every_code_of_fdc_has_one_web_domain(seeds: Path) -> None:
    (domain,) = Taxonomies((seeds.parent,)).get("web_domains").categories
    prefixes = [prefix for label in domain.labels for prefix in label.prefixes]
    assert all(any(f"{number:03}".startswith(prefix) for prefix in prefixes) for number in range(1000))
    assert all(label.prefixes and label.description and label.example for label in domain.labels)
    assert 20 <= len(domain.labels) < 40


@pytest.mark.parametrize(
    ("line", "put", "says"),
    [
        (1, "name: newsrooms", "newsroom.yml:1: the taxonomy 'newsrooms' is in a file named newsroom.yml"),
        (2, "descripton: x", "newsroom.yml:2: a taxonomy has no setting 'descripton'\n  did you mean description?"),
        (4, "  - name: The Desk", "newsroom.yml:4: 'The Desk' is not a valid category name"),
        (4, "  - name: place", "newsroom.yml:13: two categories are named place"),
        (5, "    titel: Desk", "newsroom.yml:5: a category has no setting 'titel'"),
        (7, "    range: 3-1", "newsroom.yml:7: '3-1' is not a valid range"),
        (7, "    range: 30-40", "newsroom.yml:8: desk has no label in its range"),
        (9, "      - {code: a, label: A}", "newsroom.yml:7: desk has a range, but its code 'a' is not a whole number"),
        (9, "      - {code: 1}", "newsroom.yml:9: a label of desk has no label"),
        (9, "      - {code: skip, label: A}", "newsroom.yml:9: 'skip' cannot be a code"),
        (9, "      - {code: 'a,b', label: A}", "newsroom.yml:9: 'a,b' cannot be a code"),
        (9, "      - Politics", "newsroom.yml:8: a label of desk is a mapping of settings, not 'Politics'"),
        (10, "      - {code: 1, label: Sports}", "newsroom.yml:10: desk has the code 1 twice"),
        (14, "    abstain: perhaps", "newsroom.yml:14: abstain is true or false, not 'perhaps'"),
        (17, "      - {code: eu.at, label: A, parent: ue}", "newsroom.yml:17: eu.at lies under ue, which"),
        (17, "      - {code: eu.at, label: A, parent: eu, level: 3}", "newsroom.yml:17: eu.at is of level 2, not 3"),
        (19, "      - {code: us, label: A, prefixes: [1234]}", "newsroom.yml:19: '1234' is not a valid FDC code"),
        (19, "      - {code: us, label: A, prefixes: [51, 51]}", "newsroom.yml:19: us and us both claim FDC 51"),
        (19, "      - {code: us, label: A, label: B}", "newsroom.yml:19: a label of place has 'label' twice"),
        (19, "      - {code: us", "newsroom.yml:20:1: not valid YAML"),
        (3, "categories: []\nx:", "newsroom.yml:4: a taxonomy has no setting 'x'"),
        (8, "    labels: none\n    x:", "newsroom.yml:8: labels is a list, not 'none'"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_located(newsroom: Path, line: int, put: str, says: str) -> None:
    lines = NEWSROOM.splitlines()
    newsroom.write_text("\n".join([*lines[: line - 1], put, *lines[line:]]) + "\n")
    with pytest.raises(TaxonomyError) as caught:
        read(newsroom)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("category,code\n", "moods.csv:1: no column 'label'"),
        (
            "category,code,label,lable\na,1,One,x\n",
            "moods.csv:1: no column 'lable' has a meaning\n  did you mean label?",
        ),
        ("category,code,label\na,1,One\na,1,Two\n", "moods.csv:3: a has the code 1 twice"),
        ("category,code,label\na,-1,Abstain\n", "moods.csv: a has no label"),
        ("category,code,label\n", "moods.csv: no categories"),
    ],
)
def test_a_wrong_csv_file_is_located(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "moods.csv"
    path.write_text(text)
    with pytest.raises(TaxonomyError) as caught:
        read(path)
    assert says in str(caught.value)
