"""The quality filter, rendered by plain Jinja (what dbt renders too): which rule rejects which document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import duckdb
import jinja2
import pyarrow as pa
import pytest
import yaml

from tests.helpers import FIXTURES, SQL
from tests.sql import plain_jinja
from udfs.text.quality_signals import NAMES

GOOD = dict.fromkeys(NAMES, 0.0) | {"rps_doc_word_count": 500.0, "rps_doc_frac_unique_words": 0.5}
SCORES = {"english": 0.9, "maths": 0.1, "code": 0.1}


class Exceptions:
    @staticmethod
    def raise_compiler_error(message: str) -> None:
        raise ValueError(message)


def judged(documents: dict[str, dict[str, Any]], thresholds: dict[str, Any]) -> list[tuple[Any, ...]]:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, extensions=["jinja2.ext.do"])
    environment.globals["exceptions"] = Exceptions
    call = "{{ quality_filter('measured', 'scored', thresholds) }}"
    sql = plain_jinja.render(["quality.sql"], call, environment, thresholds=thresholds)
    connection = duckdb.connect()
    known = {name: GOOD | SCORES | values for name, values in documents.items()}
    measured = [{"doc_id": name} | {key: row[key] for key in NAMES} for name, row in known.items()]
    scored = [
        {"doc_id": name} | {key: row[key] for key in SCORES} for name, row in known.items() if row.get("scores", True)
    ]
    kinds = [pa.field("doc_id", pa.string())]
    connection.register(
        "measured", pa.Table.from_pylist(measured, pa.schema([*kinds, *((n, pa.float64()) for n in NAMES)]))
    )
    connection.register(
        "scored", pa.Table.from_pylist(scored, pa.schema([*kinds, *((n, pa.float64()) for n in SCORES)]))
    )
    return connection.execute(f"select doc_id, accepted, rejected_by, accepted_by from ({sql}) order by 1").fetchall()


def cases() -> Iterator[object]:
    text = (FIXTURES / "quality" / "filter.txt").read_text()
    for block in re.split(r"\n\s*\n", text.strip())[1:]:
        title, _, rest = block.partition("\n")
        yield pytest.param(*rest.split("\n---\n"), id=title.removeprefix("-- "))


@pytest.mark.parametrize(("documents", "thresholds", "expected"), cases())
def test_algorithm_1(documents: str, thresholds: str, expected: str) -> None:
    arguments = yaml.safe_load(documents), yaml.safe_load(thresholds)
    if expected.startswith("error: "):
        with pytest.raises(ValueError, match=expected.removeprefix("error: ")):
            judged(*arguments)
        return
    found = [" ".join("NULL" if each is None else str(each) for each in row) for row in judged(*arguments)]
    assert [row.replace("True", "true").replace("False", "false") for row in found] == expected.split("\n")


def test_the_thresholds_are_the_published_ones() -> None:
    text = (SQL / "macros" / "quality.sql").read_text()
    known = dict(re.findall(r"'(m\w+)': ([\d.]+)", text))
    published = [50, 0.2, 0.18, 0.5, 0.52, 0.54, 0.56, 0.58, 0.6, 0.3, 0.3, 0.95, 0.6, 10, 0.6]
    assert [float(value) for value in known.values()] == published
