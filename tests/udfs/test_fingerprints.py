"""Stored answers are found by fingerprint: a fingerprint changes only where the VERSION of its function does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers import FIXTURES
from udfs.labels.labelers.labeler_registry import LabelerRegistry
from udfs.labels.taxonomies.taxonomies import Taxonomies
from udfs.registry import Resources, expensive_functions

RECORDED: dict[str, str] = json.loads((FIXTURES / "fingerprints.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class OneBenchmark:
    fingerprint: str = "a fixed benchmark"

    def items(self) -> Iterator[tuple[str, str]]:
        yield "addition", "A farmer has seven hens and buys five more, so how many hens does the farmer have now?"


@pytest.mark.parametrize("call", [key for key in RECORDED if "(" in key])
def test_functions_keep_their_fingerprints(call: str, seeds: Path, tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "tokenizer.json").write_text("{}", encoding="utf-8")
    name, _, listed = call.removesuffix(")").partition("(")
    options = [int(each) if each.isdigit() else each for each in listed.split(", ") if each]
    functions = expensive_functions(Resources((seeds.parent,), tmp_path, OneBenchmark()))
    assert functions[name].bind(tuple(options)).fingerprint == RECORDED[call]


@pytest.mark.parametrize("labeler", [key.removeprefix("labeler ") for key in RECORDED if key.startswith("labeler ")])
def test_labelers_keep_their_fingerprints(labeler: str, seeds: Path) -> None:
    assert LabelerRegistry((seeds.parent,)).spec(labeler).fingerprint == RECORDED[f"labeler {labeler}"]


@pytest.mark.parametrize("taxonomy", [key.removeprefix("taxonomy ") for key in RECORDED if key.startswith("taxonomy ")])
def test_taxonomies_keep_their_fingerprints(taxonomy: str, seeds: Path) -> None:
    assert Taxonomies((seeds.parent,)).get(taxonomy).fingerprint == RECORDED[f"taxonomy {taxonomy}"]


def test_every_shipped_function_and_labeler_is_recorded(seeds: Path) -> None:
    recorded = {key.partition("(")[0] for key in RECORDED if "(" in key}
    assert {*expensive_functions(Resources((seeds.parent,), Path("nowhere")))} == recorded
    assert {name for name in LabelerRegistry((seeds.parent,)).files() if f"labeler {name}" not in RECORDED} == set()
