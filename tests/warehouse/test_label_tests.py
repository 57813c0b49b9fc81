"""Tests of labels in schema.yml: parse_rate, abstention_rate, label_agreement."""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.warehouse.test_build import build, write
from udfs.errors import CuveeError
from udfs.labels.taxonomies.taxonomies import Taxonomies
from warehouse.ingest.inputs import find_inputs
from warehouse.ingest.labels.external_labeler import outside
from warehouse.ingest.labels.label_files import ingest_labels
from warehouse.ingest.records import Options
from warehouse.lake.lake import Lake

ROOT = Path(__file__).resolve().parents[2]

TAXONOMY = """
categories:
  - name: kind
    labels: [{code: x, label: News}, {code: y, label: Comment}]
  - name: desk
    labels: [{code: 1, label: Politics}, {code: 2, label: Sports}, {code: 3, label: Culture}]
  - name: free_decimal_correspondence
    labels: [{code: 51, label: Mathematics}, {code: 510, label: General}, {code: 513, label: Geometry},
        {code: 641, label: Cooking}, {code: 92, label: Lives}]
"""

COLUMNS = "doc_id,kind,kind_secondary,desk,free_decimal_correspondence"


def cases() -> Iterator[Any]:
    text = (ROOT / "tests" / "fixtures" / "label_tests" / "cases.txt").read_text()
    for block in text.split("\n\n")[1:]:
        title, _, body = block.strip().partition("\n")
        yield pytest.param(*body.split("\n---\n"), id=title.removeprefix("-- "))


def project(folder: Path, test: str) -> Path:
    """A project with four documents, and a test of their labels."""
    ((name, arguments),) = yaml.safe_load(test).items()
    schema = {"models": [{"name": "m", "data_tests": [{name: {"arguments": {"taxonomy": "press", **arguments}}}]}]}
    root = write(
        folder / "p",
        {
            "dbt_project.yml": "name: p",
            "taxonomies/press.yml": TAXONOMY,
            "models/m.sql": "select lpad(n::varchar, 32, '0') as doc_id from range(1, 5) t(n)",
            "models/schema.yml": yaml.safe_dump(schema),
        },
    )
    shutil.copytree(ROOT / "sql" / "macros", root / "macros")
    return root


def give(lake: Lake, root: Path, labels: str) -> None:
    """Ingest the labels of a case, each labeler's as a file."""
    files: defaultdict[str, list[str]] = defaultdict(list)
    for line in labels.splitlines():
        labeler, _, row = line.partition(": ")
        number, _, rest = row.partition(",")
        files[labeler].append(f"{number:0>32},{rest}")
    taxonomy = Taxonomies(root / "seeds").get("press")
    for labeler, rows in files.items():
        path = root.parent / f"{labeler}.csv"
        path.write_text("\n".join([COLUMNS, *rows]) + "\n")
        ingest_labels(lake, find_inputs([str(path)]), outside(labeler, taxonomy, []), Options())


@pytest.mark.parametrize(("labels", "test", "expected"), cases())
def test_what_a_test_of_labels_finds(lake: Lake, tmp_path: Path, labels: str, test: str, expected: str) -> None:
    root = project(tmp_path, test)
    give(lake, root, labels)
    if expected.startswith("error: "):
        with pytest.raises(CuveeError, match=re.escape(expected.removeprefix("error: "))) as caught:
            build(lake, root)
        assert "schema.yml:" in str(caught.value), "the error says where the test stands"
        return
    built, result = build(lake, root).values()
    assert built.status == "built"
    if expected == "pass":
        assert (result.status, result.message) == ("pass", "")
        return
    assert result.status == "fail"
    query = result.message.partition("see them with:\n")[2]
    found = lake.reader().execute(f"from ({query}) order by 1").fetchall()
    shown = [" ".join([str(first).lstrip("0"), *map(str, rest)]) for first, *rest in found]
    assert [
        line[: len(wanted)] for line, wanted in zip(shown, expected.splitlines(), strict=True)
    ] == expected.splitlines()


def test_the_gold_that_came_last_is_compared(lake: Lake, tmp_path: Path) -> None:
    root = project(tmp_path, "label_agreement: {labeler: a, gold: gold, at_least: {desk: 0.9}}")
    desks = {1: 1, 2: 2, 3: 3, 4: 1}
    give(lake, root, "\n".join(f"a: {n},x,,{desk}," for n, desk in desks.items()))
    give(lake, root, "\n".join(f"gold: {n},x,,3," for n in desks))
    assert [each.status for each in build(lake, root).values()] == ["built", "fail"]
    give(lake, root, "\n".join(f"gold: {n},x,,{desk}," for n, desk in desks.items()))
    assert [each.status for each in build(lake, root).values()] == ["unchanged", "pass"]
