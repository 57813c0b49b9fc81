"""Tests of mixtures in schema.yml: what they pass, and which rows they find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.warehouse.build.tests.mixture_project import CASES, give, project
from tests.warehouse.helpers import build
from udfs.errors import CuveeError
from warehouse.lake.lake import Lake


def test_tests_find_the_rows_that_break_them(lake: Lake, tmp_path: Path) -> None:
    give(lake, tmp_path)
    results = build(lake, project(tmp_path, CASES))
    for number, (_, test, arguments, expected) in enumerate(CASES):
        result = results[f"case_{number}"]
        if expected is None:
            assert (result.status, result.message) == ("pass", ""), (test, arguments)
            continue
        status = "warn" if test == "max_document_share" else "fail"
        assert result.status == status, (test, arguments, result.message)
        query = result.message.partition("see them with:\n")[2]
        rows = lake.reader().execute(f"from ({query}) order by all").fetchall()
        shown = [" ".join(map(str, row)) for row in rows]
        if test == "licence_allowed":
            shown = [line[32:] for line in shown]
        assert len(shown) == len(expected), (test, arguments, shown)
        assert all(line.startswith(begin) for line, begin in zip(shown, expected, strict=True)), (test, shown)


@pytest.mark.parametrize(
    ("test", "arguments", "message"),
    [
        ("max_shift", {"reference": "ref('trunk')"}, "max_shift: say at_most"),
        ("licence_allowed", {"allowed": ["MIT"], "unknown": "pass"}, "unknown is 'fail' or 'allow', not 'pass'"),
        ("licence_allowed", {"allowed": "MIT"}, "allowed is a list of licences"),
    ],
)
def test_arguments_that_make_no_sense(
    lake: Lake, tmp_path: Path, test: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(CuveeError, match=message):
        build(lake, project(tmp_path, [("blend", test, arguments, None)]))
