"""The labeler that needs no model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from udfs.labels.label_document import LabelDocument
from udfs.labels.taxonomies.taxonomy import ABSTAIN, Taxonomy

META = {"key", "status", "raw", "tokens"}


def verdicts(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in META}


def test_equal_texts_get_equal_labels_whatever_the_batches(seeds: Path, ask: Any) -> None:
    function = LabelDocument((seeds.parent,)).bind(("fake",))
    texts = [f"text {index}" for index in range(300)]
    rows = [verdicts(row) for row in ask(function, texts)]
    assert rows == [verdicts(row) for row in ask(function, texts, batch=7)]
    assert rows == [verdicts(row) for row in ask(function, texts[::-1])][::-1]
    assert len({str(row) for row in rows}) == 300


def test_labels_are_of_the_taxonomy_and_spread_over_it(seeds: Path, ask: Any) -> None:
    function = LabelDocument((seeds.parent,)).bind(("fake",))
    rows = ask(function, [f"text {index}" for index in range(2000)])
    for category in Taxonomy.load(seeds).categories:
        known = {label.code for label in category.choices}
        given = [row[category.name] for row in rows]
        assert {value["primary"] for value in given} <= known
        assert {value["secondary"] for value in given} <= known | {None}
        assert all(value["primary"] != value["secondary"] for value in given)
        if len(known) < 30:
            assert {value["primary"] for value in given} == known
        assert 0.2 < sum(value["secondary"] is not None for value in given) / len(given) < 0.8


def test_nothing_to_read_is_an_abstention(seeds: Path, ask: Any, hostile: list[str]) -> None:
    function = LabelDocument((seeds.parent,)).bind(("fake",))
    for row in ask(function, ["", " \n", "\x00\x01"]):
        assert row["status"] == "ok"
        assert all(value == {"primary": ABSTAIN, "secondary": None} for value in verdicts(row).values())
    assert {row["status"] for row in ask(function, hostile)} == {"ok"}


def test_the_draw_is_the_same_everywhere(seeds: Path, ask: Any) -> None:
    function = LabelDocument((seeds.parent,)).bind(("fake",))
    (row,) = ask(function, ["a cellar master composes a blend"])
    assert row["document_type_v2"] == {"primary": "22", "secondary": "21"}
