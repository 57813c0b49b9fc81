"""Reading labels that somebody else gave."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import SQL
from udfs.labels.taxonomies.external_labels import ExternalCategory
from udfs.labels.taxonomies.taxonomies import Taxonomies
from udfs.labels.taxonomies.taxonomy import ABSTAIN, Category, Label, Pair, Taxonomy

EAI: Taxonomy = Taxonomies((SQL,)).get("eai")
TYPE = ExternalCategory(EAI.category("document_type_v1"))
FDC = ExternalCategory(EAI.category("free_decimal_correspondence"))

_texts = st.text(max_size=12) | st.sampled_from(
    ["skip", "", " ", "-1", "Abstain", "3", "3.0", "03", "Code/Software", "641.563.2", "92", "005.1", "nan", "\x00"]
)


@pytest.mark.parametrize(
    ("first", "second", "read"),
    [
        ("3", "4", Pair("3", "4")),
        (" Code/Software ", "social/forum", Pair("4", "5")),
        ("3.0", "skip", Pair("3", None)),
        ("3", "3", Pair("3", None)),
        ("3", "Abstain", Pair("3", None)),
        ("-1", None, Pair(ABSTAIN, None)),
        ("Abstain", "-1", Pair(ABSTAIN, None)),
        (None, None, None),
        ("", "-1", None),
        (None, "3", "a secondary label without a primary one"),
        ("18", None, "'18' is no code of document_type_v1"),
        ("3", "News", "'News' is no code of document_type_v1"),
        ("-1", "3", "abstains and has a secondary label"),
    ],
)
def test_what_two_labels_mean(first: str | None, second: str | None, read: object) -> None:
    assert TYPE.read(first, second) == read


@pytest.mark.parametrize("code", ["641.563.2", "92", "812.54812.54", "320.973/0207", "5.1"])
def test_malformed_fdc_codes_are_refused(code: str) -> None:
    assert FDC.read(code, None) == f"{code!r} is no FDC code"


def test_a_name_of_several_labels_is_no_label() -> None:
    category = ExternalCategory(Category("kind", (Label("1", "Other"), Label("2", "other"), Label("3", "New"))))
    assert category.read("Other", None) == "several labels of kind are named 'Other': 1, 2"
    assert category.read("new", "2") == Pair("3", "2")


def test_near_names_help_with_unknown_ones() -> None:
    assert TYPE.near("Code/Sofware", None) == "did you mean Code/Software?"
    assert TYPE.near("3", "4") is None


@given(st.sampled_from(EAI.categories), st.none() | _texts, st.none() | _texts)
@settings(max_examples=300)
def test_no_text_raises_and_what_is_read_is_allowed(category: Category, first: str | None, second: str | None) -> None:
    read = ExternalCategory(category).read(first, second)
    if isinstance(read, Pair):
        assert read.primary == ABSTAIN or category.accepts(read.primary)
        assert read.secondary is None or (category.accepts(read.secondary) and read.secondary != read.primary)
    else:
        assert read is None or read


@given(st.sampled_from(EAI.categories).flatmap(lambda each: st.tuples(st.just(each), st.sampled_from(each.choices))))
def test_a_code_and_its_name_mean_the_same(chosen: tuple[Category, Label]) -> None:
    category, label = chosen
    reader = ExternalCategory(category)
    assert reader.read(label.code, None) == Pair(label.code, None)
    if [each.label.casefold() for each in category.choices].count(label.label.casefold()) == 1:
        assert reader.read(label.label.upper(), None) == Pair(label.code, None)
