"""What the tests of the functions share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from tests.helpers import doc_id
from udfs.expensive import INPUT_SCHEMA, STATUSES, BoundFunction, answer_schema
from udfs.text.decontamination_normalization import spell

Ask = Callable[..., list[dict[str, Any]]]


def answers(function: BoundFunction, texts: Sequence[str], batch: int = 64) -> list[dict[str, Any]]:
    """Return the answers to different texts, in the order of the texts; check the protocol on the way."""
    keys = [doc_id(text) for text in texts]
    rows = pa.record_batch([pa.array(keys, pa.string()), pa.array(texts, pa.string())], schema=INPUT_SCHEMA)
    found: dict[str, dict[str, Any]] = {}
    for given in function.answers(iter([rows.slice(start, batch) for start in range(0, len(texts), batch)])):
        assert given.schema.equals(answer_schema(function))
        for row in given.to_pylist():
            assert row["key"] not in found, "a key was answered twice"
            assert row["status"] in STATUSES
            found[row["key"]] = row
    assert found.keys() == set(keys)
    return [found[key] for key in keys]


def slow_words(text: str) -> tuple[list[str], list[int]]:
    """Return the words of a text, and the characters at which they begin, counted from 1."""
    found, begins, inside = [], [], False
    for position, character in enumerate(text, start=1):
        for letter in spell(character):
            if letter == " ":
                inside = False
                continue
            if not inside:
                found.append("")
                begins.append(position)
            inside = True
            found[-1] += letter
    return found, begins
