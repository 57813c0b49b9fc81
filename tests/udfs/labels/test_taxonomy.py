"""The taxonomy as the seeds tell it, and what is said about seeds that are wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from udfs.errors import UsageError
from udfs.labels.taxonomies.taxonomy import ABSTAIN, FDC, Taxonomy, TaxonomyError


@pytest.fixture(scope="module")
def eai(seeds: Path) -> Taxonomy:
    return Taxonomy.load(seeds)


def test_eai_has_ten_categories_in_the_order_of_a_labelers_output(eai: Taxonomy) -> None:
    sizes = {category.name: len(category.choices) for category in eai.categories}
    assert list(sizes) == [
        "free_decimal_correspondence",
        "bloom_cognitive_process",
        "bloom_knowledge_domain",
        "document_type_v1",
        "extraction_artifacts",
        "missing_content",
        "document_type_v2",
        "reasoning_depth",
        "technical_correctness",
        "education_level",
    ]
    assert list(sizes.values())[1:] == [6, 4, 17, 5, 7, 25, 6, 6, 5]
    assert all(ABSTAIN not in category.by_code for category in eai.categories)


def test_a_code_is_found_by_its_label(eai: Taxonomy) -> None:
    types = eai.category("document_type_v2")
    assert types.code("Tutorial") == types.code("tutorial") == "23"
    with pytest.raises(UsageError, match="did you mean Tutorial"):
        types.code("Tutorials")
    with pytest.raises(UsageError, match="did you mean document_type_v2 or document_type_v1"):
        eai.category("document_type_v3")


@pytest.mark.parametrize(
    ("code", "labels"),
    [
        ("510", ["Science and Natural history", "Mathematics", "Mathematics"]),
        ("513.212", ["Science and Natural history", "Mathematics", "Geometry"]),
        ("005", ["General works, books and libraries, information sciences", "", "Computer programming"]),
        ("641.563.2", ["Industrial arts, Technology, and Engineering", "Home economics", "Cooking and Gastronomy"]),
        ("92", ["History and Geography", "Biography"]),
        ("-1", []),
        ("", []),
    ],
)
def test_an_fdc_code_has_the_labels_of_its_prefixes(eai: Taxonomy, code: str, labels: list[str]) -> None:
    assert [label.label for label in eai.category(FDC).path(code)][:3] == labels


def test_named_decimals_are_the_deepest_label(eai: Taxonomy) -> None:
    assert eai.category(FDC).path("006.6")[-1].label == "Computer graphics"
    assert eai.category(FDC).path("006.69")[-1].code == "006.6"


def test_every_fdc_class_has_a_parent_and_choices_have_three_digits(eai: Taxonomy) -> None:
    fdc = eai.category(FDC)
    assert len(fdc.labels) == 1290
    assert all(label.parent in fdc.by_code for label in fdc.labels if label.level > 1)
    assert all(len(label.code) == 3 and label.label for label in fdc.choices)


def test_the_fingerprint_follows_the_texts(seeds: Path, tmp_path: Path, eai: Taxonomy) -> None:
    shutil.copytree(seeds, tmp_path / "seeds")
    path = tmp_path / "seeds" / "taxonomy.csv"
    assert Taxonomy.load(tmp_path / "seeds").fingerprint == eai.fingerprint
    path.write_text(path.read_text().replace("step-by-step instructions", "instructions"))
    assert Taxonomy.load(tmp_path / "seeds").fingerprint != eai.fingerprint


HEAD = "category,code,label,description,example\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("category,code,label\nx,1,One\n", "taxonomy.csv:1: no column 'description'"),
        (HEAD + "x,1,One,,\nx,1,Two,,\n", "taxonomy.csv:3: x has the code 1 twice"),
        (HEAD + "x,1,One,,\nx,2\n", "taxonomy.csv:3: not as many values as there are columns"),
        (HEAD + "x,1,One,,,,\n", "taxonomy.csv:2: not as many values"),
        (HEAD + "x,,One,,\n", "taxonomy.csv:2: a label of x has no code or no name"),
        (HEAD + "My Type,1,One,,\n", "taxonomy.csv:2: 'My Type' is not a valid category name"),
        (HEAD + "x,-1,Abstain,,\n", "x has no label"),
        (HEAD, "no categories"),
        (HEAD + 'x,1,"One,,\n', "not a CSV file"),
    ],
)
def test_a_wrong_taxonomy_is_located(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "taxonomy.csv").write_text(text)
    with pytest.raises(TaxonomyError) as caught:
        Taxonomy.load(tmp_path)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("5,1,,Science,,\n5,1,,Science,,\n", "fdc.csv:3: the code 5 is there twice"),
        ("51,2,5,Mathematics,,\n", "fdc.csv:2: 51 lies under 5, which is not above it"),
        ("5,2,,Science,,\n", "fdc.csv:2: 5 is of level 1, not '2'"),
        ("5x,1,,Science,,\n", "fdc.csv:2: '5x' is not a valid FDC code"),
        ("", "no classes"),
    ],
)
def test_a_wrong_hierarchy_is_located(tmp_path: Path, rows: str, says: str) -> None:
    (tmp_path / "taxonomy.csv").write_text(HEAD + f"{FDC},5,Science,,\n")
    (tmp_path / "fdc.csv").write_text("code,level,parent,label,description,example\n" + rows)
    with pytest.raises(TaxonomyError) as caught:
        Taxonomy.load(tmp_path)
    assert says in str(caught.value)


def test_missing_and_undecodable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(TaxonomyError, match=r"no file .*taxonomy\.csv"):
        Taxonomy.load(tmp_path)
    (tmp_path / "taxonomy.csv").write_bytes(b"category,code\n\xff\xfe\n")
    with pytest.raises(TaxonomyError, match="not a CSV file in UTF-8"):
        Taxonomy.load(tmp_path)
