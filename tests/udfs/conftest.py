"""Fixtures of the functions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import SQL
from tests.udfs.helpers import Ask, answers


@pytest.fixture(scope="session")
def seeds() -> Path:
    """The project's own seeds."""
    return SQL / "seeds"


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
