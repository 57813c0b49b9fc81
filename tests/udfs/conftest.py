"""What the tests of the functions share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from udfs.expensive import INPUT_SCHEMA, STATUSES, BoundFunction, answer_schema

Ask = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def seeds() -> Path:
    """The project's own seeds."""
    return Path(__file__).resolve().parents[2] / "sql" / "seeds"


def answers(function: BoundFunction, texts: Sequence[str], batch: int = 64) -> list[dict[str, Any]]:
    """The answers to different texts, in the order of the texts; the protocol is checked on the way."""
    keys = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]
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


@pytest.fixture(scope="session")
def ask() -> Ask:
    """Ask a function about different texts: answers in the order of the texts, the protocol checked on the way."""
    return answers


@pytest.fixture(scope="session")
def hostile(shared_data: Path) -> list[str]:
    """Naughty strings, and some of our own."""
    lines = (shared_data / "hostile" / "blns_half.txt").read_text(encoding="utf-8").split("\n")
    own = ["", " ", "\n\t\r", "\x00", "\x00a\x00", "\ufeff", "�", "a" * 1_000_000, "<|endoftext|>", "[CLS][SEP][PAD]"]
    long = ["🤷🏽‍♀️" * 1000, "<p>" * 1000, "\\begin{x}" * 100, "%" * 5000]
    return list(dict.fromkeys([*lines, *own, *long]))
