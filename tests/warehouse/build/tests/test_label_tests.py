"""Tests of labels in schema.yml: parse_rate, abstention_rate, label_agreement."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import FIXTURES
from tests.warehouse.build.tests.label_project import give, project
from tests.warehouse.helpers import build
from udfs.errors import CuveeError
from warehouse.lake.lake import Lake


def cases() -> Iterator[Any]:
    text = (FIXTURES / "label_tests" / "cases.txt").read_text()
    for block in text.split("\n\n")[1:]:
        title, _, body = block.strip().partition("\n")
        yield pytest.param(*body.split("\n---\n"), id=title.removeprefix("-- "))


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
